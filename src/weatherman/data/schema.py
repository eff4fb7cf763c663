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
from referencing import Registry, Resource
from referencing.exceptions import Unresolvable
from referencing.jsonschema import DRAFT202012

from weatherman.data.changes import Changes
from weatherman.data.declarations import has_keyword, normalise_tool
from weatherman.data.strict_json import unreadable_character

_MAX_SHOWN = 40
_MAX_NAMED = 5
_FAILURES = (SchemaError, RecursionError, Unresolvable, ValueError, TypeError, OverflowError, re.error)


@dataclass(frozen=True, slots=True)
class Tools:
    """The tools a row declares, by name, with what checks their arguments.

    Attributes:
        declared: the declarations as templates get them.
        validators: what checks a tool's arguments.
        problems: (place, text) pairs.
        changes: what was changed in the declarations.
    """

    declared: Mapping[str, dict[str, Any]]
    validators: Mapping[str, Any]
    problems: tuple[tuple[str, str], ...]
    changes: Mapping[str, int]

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
    return _compile("[]" if raw is None else json.dumps(raw, ensure_ascii=False))


@lru_cache(maxsize=1024)
def _compile(text: str) -> Tools:
    raw = json.loads(text)
    declared: dict[str, dict[str, Any]] = {}
    validators: dict[str, Any] = {}
    if not isinstance(raw, list):
        return Tools({}, {}, (("tools", "expected a list of tools."),), {})
    if half := unreadable_character(text):
        return Tools({}, {}, (("tools", f"holds {half}, half of a character, which no tokenizer can read."),), {})
    problems, changes = [], Changes()
    for index, given in enumerate(raw):
        tool = normalise_tool(given, changes)
        problem = _declaration_problem(tool, declared)
        if problem:
            problems.append((f"tools[{index}].{problem[0]}", problem[1]))
            continue
        assert isinstance(tool, dict)
        name = tool["function"]["name"]
        declared[name] = tool
        validators[name] = _validator(parameters_of(tool))
    return Tools(declared, validators, tuple(problems), changes)


def parameters_of(tool: Mapping[str, Any]) -> dict[str, Any]:
    """The JSON Schema of a tool's arguments; empty where it declares none."""
    return tool["function"].get("parameters") or {}


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
    if parameters and not has_keyword(parameters):
        return "function.parameters", "not a JSON Schema: no argument would be checked; `properties` is missing."
    try:
        validator = _validator(parameters or {})
        validator.check_schema(parameters or {})
        _follow_references(parameters or {})
        next(validator.iter_errors({}), None)  # an endless reference shows when it is followed
    except _FAILURES as problem:
        return "function.parameters", f"not a JSON Schema: {_first_line(problem)}."
    return None


def _follow_references(schema: dict[str, Any]) -> None:
    """Look up every reference in a schema, so that one that leads nowhere is known before a call needs it.

    Raises:
        Unresolvable: a reference leads nowhere.
    """
    resource = Resource.from_contents(schema, default_specification=DRAFT202012)
    resolver = Registry().with_resource("", resource).resolver()
    inner: list[Any] = [schema]
    while inner:
        one = inner.pop()
        if isinstance(one, dict):
            if isinstance(one.get("$ref"), str):
                resolver.lookup(one["$ref"])
            inner.extend(one.values())
        elif isinstance(one, list):
            inner.extend(one)


def _validator(schema: dict[str, Any]) -> Any:
    # The empty registry keeps jsonschema from fetching references over the network.
    return validator_for(schema, default=Draft202012Validator)(schema, registry=Registry())


def _describe(error: ValidationError) -> str:
    """What is wrong, in words that quote no more of the data than `show` does."""
    at = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in error.absolute_path).lstrip(".")
    where = f"{at}: " if at else ""
    if error.validator == "required":
        # jsonschema reports each missing key in an error of its own, which names the key only in its message.
        missing = next(key for key in error.validator_value if error.message.startswith(repr(key)))
        return f'{where}missing "{missing}"'
    if error.validator == "additionalProperties" and isinstance(error.instance, dict):
        known = error.schema.get("properties", {})
        unknown = [key for key in error.instance if key not in known][:_MAX_NAMED]
        return f"{where}unknown {', '.join(map(show, unknown))}; known: {', '.join(known) or 'none'}"
    spelled = repr(error.instance)
    if error.message.startswith(spelled):
        return f"{where}{show(error.instance)}{error.message[len(spelled) :][:200]}"
    return f"{where}{show(error.instance)} breaks {error.validator}"


def _reason(error: ValidationError) -> str:
    return "required by" if error.validator == "required" else "schema of"


def _first_line(problem: Exception) -> str:
    text = str(getattr(problem, "message", problem)).strip() or type(problem).__name__
    return text.splitlines()[0][:200]


def show(value: object) -> str:
    """A value as short JSON, for messages."""
    text = json.dumps(value, ensure_ascii=False, default=str)
    return text if len(text) <= _MAX_SHOWN else text[: _MAX_SHOWN - 3] + "..."
