"""Tool declarations and their JSON Schemas: read once per distinct list, then kept, since every row repeats them."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from jsonschema import Draft202012Validator
from jsonschema.exceptions import SchemaError, ValidationError
from jsonschema.validators import validator_for
from referencing import Registry
from referencing.exceptions import Unresolvable

from weatherman.data.strict_json import unreadable_character

_MAX_SHOWN = 80
_FAILURES = (SchemaError, RecursionError, Unresolvable, ValueError, TypeError, OverflowError, re.error)


@dataclass(frozen=True, slots=True)
class Tools:
    """The tools a row declares, by name, with what checks their arguments; `problems` are (place, text) pairs."""

    declared: Mapping[str, dict[str, Any]]
    validators: Mapping[str, Any]
    problems: tuple[tuple[str, str], ...]

    def argument_problems(self, name: str, arguments: dict[str, Any]) -> Iterator[str]:
        """What is wrong with the arguments of a call of the declared tool `name`."""
        try:
            for error in self.validators[name].iter_errors(arguments):
                yield f"{_describe(error)} ({_reason(error)} {name})"
        except _FAILURES as problem:  # e.g. a reference that leads nowhere, found only when it is followed
            yield f"cannot be checked: the schema of {name} fails: {_first_line(problem)}"


def read_tools(raw: object) -> Tools:
    """Read the `tools` of a row; equal declarations give the very same object.

    Args:
        raw: the decoded JSON value, or None where the row has none.

    Returns:
        The tools, with the problems found in them.
    """
    if raw is None:
        return _compile("[]")
    return _compile(json.dumps(raw, ensure_ascii=False))


@lru_cache(maxsize=1024)
def _compile(text: str) -> Tools:
    raw = json.loads(text)
    declared: dict[str, dict[str, Any]] = {}
    validators: dict[str, Any] = {}
    if not isinstance(raw, list):
        return Tools({}, {}, (("tools", "expected a list of tools."),))
    if half := unreadable_character(text):
        return Tools({}, {}, (("tools", f"holds {half}, half of a character, which no tokenizer can read."),))
    problems = []
    for index, tool in enumerate(raw):
        problem = _declaration_problem(tool, declared)
        if problem:
            problems.append((f"tools[{index}].{problem[0]}", problem[1]))
            continue
        name = tool["function"]["name"]
        declared[name] = tool
        validators[name] = _validator(tool["function"].get("parameters") or {})
    return Tools(declared, validators, tuple(problems))


def _declaration_problem(tool: object, declared: Mapping[str, Any]) -> tuple[str, str] | None:
    function = tool.get("function") if isinstance(tool, dict) else None
    if not isinstance(function, dict):
        return "function", "missing or not an object."
    name = function.get("name")
    if not isinstance(name, str) or not name:
        return "function.name", "missing or not text."
    if name in declared:
        return "function.name", f"{show(name)} is declared twice."
    if not isinstance(function.get("description", ""), str):
        return "function.description", "expected text."
    parameters = function.get("parameters")
    if parameters is not None and not isinstance(parameters, dict):
        return "function.parameters", "not a JSON Schema: expected an object."
    try:
        validator = _validator(parameters or {})
        validator.check_schema(parameters or {})
        next(validator.iter_errors({}), None)  # a reference that leads nowhere, or an endless one, shows when followed
    except _FAILURES as problem:
        return "function.parameters", f"not a JSON Schema: {_first_line(problem)}."
    return None


def _validator(schema: dict[str, Any]) -> Any:
    # The empty registry keeps jsonschema from fetching references over the network.
    return validator_for(schema, default=Draft202012Validator)(schema, registry=Registry())


def _describe(error: ValidationError) -> str:
    at = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in error.absolute_path).lstrip(".")
    where = f"{at}: " if at else ""
    if error.validator == "required":
        # jsonschema reports each missing key in an error of its own, which names the key only in its message.
        missing = next(key for key in error.validator_value if error.message.startswith(repr(key)))
        return f'{where}missing "{missing}"'
    if error.validator == "additionalProperties" and isinstance(error.instance, dict):
        known = error.schema.get("properties", {})
        unknown = [key for key in error.instance if key not in known]
        return f"{where}unknown {', '.join(map(show, unknown))}; known: {', '.join(known) or 'none'}"
    return f"{where}{error.message[:200]}"


def _reason(error: ValidationError) -> str:
    return "required by" if error.validator == "required" else "schema of"


def _first_line(problem: Exception) -> str:
    text = str(getattr(problem, "message", problem)).strip() or type(problem).__name__
    return text.splitlines()[0][:200]


def show(value: object) -> str:
    """A value as short JSON, for messages."""
    text = json.dumps(value, ensure_ascii=False, default=str)
    return text if len(text) <= _MAX_SHOWN else text[: _MAX_SHOWN - 3] + "..."
