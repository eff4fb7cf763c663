"""Which tools a model is told of: what a source offers, spelled as it was trained wherever that is the same tool."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from weatherman.tools.source import names_of, tool_name

_WORDS_ONLY = ("title", "description", "$schema", "$id", "examples", "default", "$comment")


@dataclass(frozen=True, slots=True)
class Declared:
    """The tools for the prompt, and what differs from the trained ones, a sentence each."""

    tools: tuple[dict[str, Any], ...]
    differences: tuple[str, ...]


def declare(trained: Sequence[dict[str, Any]], offered: Sequence[dict[str, Any]]) -> Declared:
    """Put the offered tools in the trained order and spelling.

    Args:
        trained: the task's tools.
        offered: the source's.

    Returns:
        The declarations: the trained one of a tool that takes the same arguments, else the source's own.
    """
    given = {tool_name(tool): tool for tool in offered}
    known = {tool_name(tool): tool for tool in trained}
    tools: list[dict[str, Any]] = []
    differences: list[str] = []
    for name, tool in known.items():
        if name not in given:
            continue
        found = schema_differences(tool, given[name])
        tools.append(given[name] if found else tool)
        if found:
            differences.append(f"{name} takes other arguments than in training ({'; '.join(found)}).")
        elif _words(tool) != _words(given[name]):
            differences.append(f"{name} is described in other words than in training; the trained ones are used.")
    missing = [tool for name, tool in known.items() if name not in given]
    extra = [tool for name, tool in given.items() if name not in known]
    if missing:
        differences.append(f"Trained, but not offered: {names_of(missing)}.")
    if extra:
        differences.append(f"Offered, but not trained: {names_of(extra)}.")
    return Declared((*tools, *extra), tuple(differences))


def schema_differences(trained: dict[str, Any], offered: dict[str, Any]) -> list[str]:
    """How the arguments of two declarations differ, argument by argument; descriptions do not count."""
    ours, theirs = _parameters(trained), _parameters(offered)
    found = []
    for name in dict.fromkeys([*ours["properties"], *theirs["properties"]]):
        if name not in theirs["properties"]:
            found.append(f"no {name}")
        elif name not in ours["properties"]:
            found.append(f"{name} is new")
        elif ours["properties"][name] != theirs["properties"][name]:
            found.append(f"{name} was {ours['properties'][name]} and is {theirs['properties'][name]}")
        elif (name in ours["required"]) != (name in theirs["required"]):
            found.append(f"{name} is {'optional' if name in ours['required'] else 'required'}")
    rest = {key for key in (*ours, *theirs) if key not in ("properties", "required")}
    return found + [f"{key} differs" for key in sorted(rest) if ours.get(key) != theirs.get(key)]


def _parameters(tool: dict[str, Any]) -> dict[str, Any]:
    """The arguments' schema without words about them, and without a refusal of further ones, which forbids no call."""
    schema = _without_words(tool["function"].get("parameters") or {})
    properties = schema.get("properties")
    required = schema.get("required")
    return {
        **schema,
        "properties": properties if isinstance(properties, dict) else {},
        "required": required if isinstance(required, list) else [],
    } | ({} if "type" in schema else {"type": "object"})


def _without_words(schema: Any, *, names: bool = False) -> Any:
    """A schema without its words; the keys of `properties` are names, whatever they are."""
    if isinstance(schema, dict):
        return {
            key: _without_words(value, names=key == "properties" and not names)
            for key, value in schema.items()
            if names or (key not in _WORDS_ONLY and not (key == "additionalProperties" and isinstance(value, bool)))
        }
    return [_without_words(value) for value in schema] if isinstance(schema, list) else schema


def _words(tool: dict[str, Any]) -> Any:
    return tool["function"].get("description"), tool["function"].get("parameters")
