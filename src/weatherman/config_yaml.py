"""Read a YAML file as plain values with the line of each key; nothing in it is ever executed."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from weatherman.errors import WeathermanError

_MAX_BYTES = 1_000_000
_PLAIN_TAGS = {f"tag:yaml.org,2002:{name}" for name in ("null", "bool", "int", "float", "str", "seq", "map", "timestamp")}


@dataclass(frozen=True, slots=True)
class YamlFile:
    """Top-level values and the 1-based line of each key."""

    values: dict[str, Any]
    lines: dict[str, int]


def read_yaml(path: Path) -> YamlFile:
    """Read a configuration file.

    Args:
        path: the file.

    Returns:
        Its top-level mapping, with lines.

    Raises:
        WeathermanError: it cannot be read, is not plain YAML, or is not a mapping.
    """
    text = _read_text(path)
    try:
        root = yaml.compose(text, Loader=yaml.SafeLoader)
    except yaml.YAMLError as problem:
        raise _syntax_error(path, problem) from problem
    except RecursionError as problem:
        raise WeathermanError("config.too-deep", f"{path}: nested too deeply.") from problem
    if root is None:
        raise WeathermanError("config.empty", f"{path} is empty.", "start from a file in configs/.")
    if not isinstance(root, yaml.MappingNode):
        raise WeathermanError("config.not-mapping", f"{path}:1: expected `key: value` lines.", "see docs/CONFIG.md.")
    _check_plain(path, root)
    return _values(path, root)


def parse_scalar(text: str) -> Any:
    """A `--set` value as YAML reads it (`3`, `true`, `[a, b]`, text).

    Raises:
        WeathermanError: it is not plain YAML.
    """
    source = Path("--set")
    try:
        node = yaml.compose(text, Loader=yaml.SafeLoader)
    except (yaml.YAMLError, RecursionError) as problem:
        raise WeathermanError("config.syntax", f"--set value {text!r} is not valid YAML.") from problem
    if node is None:
        return None
    _check_plain(source, node)
    return _construct(source, node)


def _read_text(path: Path) -> str:
    if path.is_dir():
        raise WeathermanError("config.is-folder", f"{path} is a folder.", "name a file, e.g. configs/training_config_demo.yaml.")
    try:
        data = path.read_bytes()
    except FileNotFoundError as problem:
        raise WeathermanError(
            "config.missing", f"there is no file {path}.", "the shipped ones are in configs/."
        ) from problem
    except OSError as problem:
        raise WeathermanError("config.unreadable", f"{path}: {problem.strerror}.") from problem
    if len(data) > _MAX_BYTES:
        raise WeathermanError("config.too-large", f"{path} has {len(data):,} bytes; a configuration has a few thousand.")
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as problem:
        raise WeathermanError("config.not-text", f"{path}: byte {problem.start} is not UTF-8 text.") from problem
    for number, line in enumerate(text.splitlines(), 1):
        if line[: len(line) - len(line.lstrip())].count("\t"):
            raise WeathermanError("config.tab", f"{path}:{number}: a tab in the indentation.", "YAML wants spaces.")
    return text


def _syntax_error(path: Path, problem: yaml.YAMLError) -> WeathermanError:
    mark = getattr(problem, "problem_mark", None)
    what = getattr(problem, "problem", None) or str(problem).splitlines()[0]
    where = f"{path}:{mark.line + 1}:{mark.column + 1}" if mark else str(path)
    return WeathermanError("config.syntax", f"{where}: not valid YAML: {what}.")


def _check_plain(path: Path, root: yaml.Node) -> None:
    """Refuse tags that make objects, and aliases (a few lines of them can unfold to gigabytes)."""
    seen: set[int] = set()
    stack = [root]
    while stack:
        node = stack.pop()
        line = node.start_mark.line + 1
        if id(node) in seen:
            raise WeathermanError("config.alias", f"{path}:{line}: aliases (*name) are not allowed.", "write it out.")
        seen.add(id(node))
        if node.tag not in _PLAIN_TAGS:
            raise WeathermanError("config.tag", f"{path}:{line}: the tag {node.tag} is not allowed.", "use plain values.")
        if isinstance(node, yaml.MappingNode):
            stack.extend(child for pair in node.value for child in pair)
        elif isinstance(node, yaml.SequenceNode):
            stack.extend(node.value)


def _values(path: Path, root: yaml.MappingNode) -> YamlFile:
    values: dict[str, Any] = {}
    lines: dict[str, int] = {}
    for key_node, value_node in root.value:
        line = key_node.start_mark.line + 1
        key = str(key_node.value)
        if key in values:
            raise WeathermanError(
                "config.duplicate-key", f"{path}:{line}: {key} is given twice (first on line {lines[key]}).", "keep one."
            )
        values[key] = _construct(path, value_node)
        lines[key] = line
    return YamlFile(values, lines)


def _construct(path: Path, node: yaml.Node) -> Any:
    loader = yaml.SafeLoader("")
    try:
        return loader.construct_object(node, deep=True)  # type: ignore[no-untyped-call]
    except (yaml.YAMLError, ValueError, OverflowError) as problem:
        raise WeathermanError("config.syntax", f"{path}:{node.start_mark.line + 1}: not a valid value.") from problem
    finally:
        loader.dispose()  # type: ignore[no-untyped-call]
