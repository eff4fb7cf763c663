"""Declare tools from the calls that conversations make, for files that hold calls and no declarations."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from weatherman.data.arguments import decode_arguments
from weatherman.data.changes import Changes

_KINDS = {bool: "boolean", int: "integer", float: "number", str: "string", list: "array", dict: "object"}


@dataclass(slots=True)
class _Seen:
    """What the calls of one tool have in common."""

    num_calls: int = 0
    kinds: dict[str, set[str]] = field(default_factory=dict)
    times: dict[str, int] = field(default_factory=dict)


def declare_tools(rows: Iterable[dict[str, Any]]) -> list[dict[str, Any]]:
    """Declarations that every call in these rows fits: each argument's kinds; required is what no call leaves out.

    Args:
        rows: in the OpenAI form; calls that cannot be read are passed over, they are refused where rows are checked.

    Returns:
        The tools, in the order of their names, without descriptions.
    """
    seen: dict[str, _Seen] = {}
    for row in rows:
        for name, arguments in _calls(row):
            tool = seen.setdefault(name, _Seen())
            tool.num_calls += 1
            for key, value in arguments.items():
                tool.kinds.setdefault(key, set()).add(_KINDS.get(type(value), "null"))
                tool.times[key] = tool.times.get(key, 0) + 1
    return [{"type": "function", "function": _function(name, seen[name])} for name in sorted(seen)]


def _function(name: str, tool: _Seen) -> dict[str, Any]:
    properties = {key: {"type": _kind(kinds)} for key, kinds in tool.kinds.items()}
    required = [key for key in properties if tool.times[key] == tool.num_calls]
    parameters = {"type": "object", "properties": properties, "required": required}
    return {"name": name, "description": "", "parameters": parameters}


def _kind(kinds: set[str]) -> str | list[str]:
    if "number" in kinds:
        kinds = kinds - {"integer"}
    found = sorted(kinds)
    return found[0] if len(found) == 1 else found


def _calls(row: dict[str, Any]) -> Iterable[tuple[str, dict[str, Any]]]:
    messages = row.get("messages")
    for message in messages if isinstance(messages, list) else ():
        calls = message.get("tool_calls") if isinstance(message, dict) else None
        for call in calls if isinstance(calls, list) else ():
            function = call.get("function") if isinstance(call, dict) else None
            if isinstance(function, dict) and isinstance(function.get("name"), str):
                try:
                    arguments = decode_arguments(function.get("arguments"), {}, Changes())
                except ValueError:
                    continue
                if isinstance(arguments, dict):
                    yield function["name"], arguments


def as_text(tools: list[dict[str, Any]]) -> str:
    """Tools as the text that a reader carries."""
    return json.dumps(tools, ensure_ascii=False) if tools else ""
