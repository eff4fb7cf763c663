"""Read a configuration's YAML as plain values with the line of each key; nothing in it is ever executed.

Plain values are those of YAML 1.2's core schema: null, true and false, whole numbers, numbers (`2e-4` is one), text,
lists and mappings. Tags, anchors and aliases are refused: a tag can name an object to build, and a few lines of aliases
can unfold to gigabytes. `on`, `off`, `yes`, `no` and dates are text.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import yaml

from weatherman.errors import WeathermanError

_MAX_BYTES = 100_000
_MAX_DIGITS = 300
_TAG = "tag:yaml.org,2002:"
_SCALARS = (
    ("null", re.compile(r"(?:~|null|Null|NULL|)$"), ("~", "n", "N", "")),
    ("bool", re.compile(r"(?:true|True|TRUE|false|False|FALSE)$"), tuple("tTfF")),
    ("int", re.compile(r"[-+]?(?:0|[1-9][0-9]*)$"), tuple("-+0123456789")),
    (
        "float",
        re.compile(
            r"(?:[-+]?(?:\.[0-9]+|[0-9]+\.[0-9]*)(?:[eE][-+]?[0-9]+)?|[-+]?[0-9]+[eE][-+]?[0-9]+"
            r"|[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN))$"
        ),
        tuple("-+.0123456789"),
    ),
)


@dataclass(frozen=True, slots=True)
class YamlValues:
    """Top-level values, the 1-based line of each key, and the (line, problem) pairs of what was left out."""

    values: dict[str, Any]
    lines: dict[str, int]
    problems: list[tuple[int, WeathermanError]]


class _PlainLoader(yaml.SafeLoader):
    """Composes nodes; tags, anchors and aliases are noted as (mark, what) and have no effect."""

    yaml_implicit_resolvers: dict[str, list[tuple[str, re.Pattern[str]]]] = {}  # noqa: RUF012 (PyYAML's own hook)

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self.refused: list[tuple[yaml.Mark, str]] = []

    def compose_node(self, parent: yaml.Node | None, index: Any) -> yaml.Node | None:
        """Compose one node of the event stream (PyYAML's hook)."""
        event = self.peek_event()
        if isinstance(event, yaml.AliasEvent):
            self.get_event()
            self.refused.append((event.start_mark, f"the alias *{event.anchor} is not allowed"))
            return yaml.ScalarNode(f"{_TAG}null", "", event.start_mark, event.end_mark)
        if event.anchor is not None:
            self.refused.append((event.start_mark, f"the anchor &{event.anchor} is not allowed"))
            event.anchor = None
        if event.tag is not None:
            self.refused.append((event.start_mark, f"the tag {event.tag.replace(_TAG, '!!')} is not allowed"))
            event.tag = None
        return super().compose_node(parent, index)


for _name, _pattern, _first in _SCALARS:
    _PlainLoader.add_implicit_resolver(_TAG + _name, _pattern, list(_first))


def read_yaml(path: Path) -> YamlValues:
    """Read a configuration file.

    Args:
        path: the file.

    Returns:
        Its top-level mapping. A key that is given twice, or whose value uses a tag, an anchor or an alias, is a problem
        in the result, so that all of a file's problems can be told at once.

    Raises:
        WeathermanError: the file cannot be read, is not YAML, is empty or not a mapping.
    """
    root, refused = _compose(_read_text(path), f"{path}:")
    if root is None:
        raise WeathermanError("config.empty", f"{path} is empty.", "start from a file in configs/.")
    if not isinstance(root, yaml.MappingNode):
        what = f" ({refused[0][1]})" if refused else ""
        text = f"{path}:{root.start_mark.line + 1}: expected `key: value` lines{what}."
        raise WeathermanError("config.not-mapping", text, "see docs/CONFIG.md.")
    return _collect(str(path), root, refused)


def parse_value(text: str) -> Any:
    """Read one value as YAML does (`3`, `true`, `[a, b]`, text).

    Args:
        text: the value.

    Returns:
        The plain value; None when the text is empty.

    Raises:
        WeathermanError: it is not plain YAML.
    """
    root, refused = _compose(text, "")
    if refused:
        raise WeathermanError("config.not-plain", f"{refused[0][1]}.", "use plain values.")
    return None if root is None else _plain(root)


def _read_text(path: Path) -> str:
    try:
        with path.open("rb") as file:
            data = file.read(_MAX_BYTES + 1)
    except FileNotFoundError as problem:
        raise WeathermanError(
            "config.missing", f"there is no file {path}.", "the shipped ones are in configs/."
        ) from problem
    except IsADirectoryError as problem:
        raise WeathermanError(
            "config.is-folder", f"{path} is a folder.", "name a file, e.g. configs/training_config_demo.yaml."
        ) from problem
    except OSError as problem:
        raise WeathermanError("config.unreadable", f"{path}: {problem.strerror}.") from problem
    if len(data) > _MAX_BYTES:
        raise WeathermanError(
            "config.too-large", f"{path} has more than {_MAX_BYTES:,} bytes; a configuration has a few thousand."
        )
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as problem:
        raise WeathermanError(
            "config.not-text", f"{path}: byte {problem.start + 1} is not UTF-8 text.", "name a YAML file."
        ) from problem


def _compose(text: str, source: str) -> tuple[yaml.Node | None, list[tuple[yaml.Mark, str]]]:
    """Return the root node (None for an empty text), and what was refused on the way."""
    loader = None
    try:
        loader = _PlainLoader(text)
        return loader.get_single_node(), loader.refused
    except yaml.reader.ReaderError as problem:
        raise WeathermanError(
            "config.not-text", f"{source} character {problem.position + 1} is not text.".strip(), "name a YAML file."
        ) from problem
    except yaml.MarkedYAMLError as problem:
        raise _syntax_error(source, problem) from problem
    except RecursionError as problem:
        raise WeathermanError("config.too-deep", f"{source} nested too deeply.".strip()) from problem
    except ValueError as problem:  # PyYAML's scanner turns an escape such as "\U00110000" into a character unchecked
        raise WeathermanError("config.syntax", f"{source} not valid YAML: {problem}.".strip()) from problem
    finally:
        if loader is not None:
            loader.dispose()


def _syntax_error(source: str, problem: yaml.MarkedYAMLError) -> WeathermanError:
    mark = problem.problem_mark or problem.context_mark
    where = f"{source}{mark.line + 1}:" if source and mark else source
    what = problem.problem or problem.context or "unreadable"
    if r"'\t'" in what:
        return WeathermanError("config.tab", f"{where} a tab; YAML is laid out with spaces.", "replace it by spaces.")
    column = f" at column {mark.column + 1}" if mark else ""
    return WeathermanError("config.syntax", f"{where} not valid YAML{column}: {what}.".strip())


def _collect(source: str, root: yaml.MappingNode, refused: list[tuple[yaml.Mark, str]]) -> YamlValues:
    found = YamlValues({}, {}, [])
    for mark, what in refused:
        line = mark.line + 1
        problem = WeathermanError("config.not-plain", f"{source}:{line}: {what}.", "write the value out.")
        found.problems.append((line, problem))
    starts = [key.start_mark.index for key, _ in root.value]
    for (key_node, value_node), (start, end) in zip(root.value, pairwise([*starts, float("inf")]), strict=True):
        line = key_node.start_mark.line + 1
        if any(start <= mark.index < end for mark, _ in refused):
            continue
        key = _plain(key_node)
        if not isinstance(key, str):
            text = f"{source}:{line}: the key {key!r} is not text."
            found.problems.append((line, WeathermanError("config.key", text, "see docs/CONFIG.md.")))
        elif key in found.lines:
            text = f"{source}:{line} {key}: given twice (first on line {found.lines[key]})."
            found.problems.append((line, WeathermanError("config.duplicate-key", text, "keep one.")))
        else:
            found.values[key], found.lines[key] = _plain(value_node), line
    return found


def _plain(node: yaml.Node) -> Any:
    """Return a composed node's value: only null, bool, int, float, str, list and dict."""
    if isinstance(node, yaml.SequenceNode):
        return [_plain(item) for item in node.value]
    if isinstance(node, yaml.MappingNode):
        return {str(_plain(key)): _plain(value) for key, value in node.value}
    text, kind = str(node.value), node.tag.removeprefix(_TAG)
    if kind == "null":
        return None
    if kind == "bool":
        return text.lower() == "true"
    if kind == "int" and len(text) <= _MAX_DIGITS:
        return int(text)
    if kind == "float":
        return float(re.sub(r"\.(?=inf|nan)", "", text.lower()))
    return text
