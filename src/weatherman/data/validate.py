"""Check one row of chat data and normalise the variants that OpenAI-style files have into a `Conversation`."""

from __future__ import annotations

import json
from collections.abc import Iterator
from functools import lru_cache
from typing import Any

from jsonschema import Draft202012Validator
from jsonschema.exceptions import SchemaError

from weatherman.errors import WeathermanError
from weatherman.records import Conversation, Message, ToolCall

ROLES = {"system": "system", "developer": "system", "user": "user", "assistant": "assistant", "tool": "tool"}
_MAX_SHOWN = 80


class _Row:
    """Collects the problems of one row while it is read."""

    def __init__(self, source: str) -> None:
        self.source = source
        self.problems: list[WeathermanError] = []

    def problem(self, where: str, text: str, hint: str = "") -> None:
        self.problems.append(WeathermanError("data.invalid", f"{self.source} {where}: {text}", hint))


def validate_row(row: object, source: str) -> tuple[Conversation | None, list[WeathermanError]]:
    """Check a decoded row.

    Accepted variants: `content` null or absent beside tool calls, content as a list of text parts, arguments as a JSON
    string or an object, several calls in a turn, `developer` for `system`, `tools` absent.

    Args:
        row: the decoded JSON value.
        source: file and line, e.g. ``train.jsonl:418``.

    Returns:
        The conversation (None if anything is wrong) and the problems.
    """
    report = _Row(source)
    if not isinstance(row, dict):
        report.problem("row", f"expected an object, found {_kind(row)}.")
        return None, report.problems
    raw_messages = row.get("messages")
    if not isinstance(raw_messages, list) or not raw_messages:
        report.problem("messages", "expected a list with at least one message." if "messages" in row else "missing.")
        return None, report.problems
    tools = _read_tools(row.get("tools"), report)
    messages = [_read_message(raw, f"messages[{index}]", tools, report) for index, raw in enumerate(raw_messages)]
    metadata = row.get("metadata")
    if metadata is not None and not isinstance(metadata, dict):
        report.problem("metadata", f"expected an object, found {_kind(metadata)}.")
    read = [message for message in messages if message is not None]
    if len(read) == len(messages):
        _check_order(read, report)
    if report.problems:
        return None, report.problems
    return Conversation(tuple(read), tuple(tools.values()), metadata or {}, source), []


def _read_tools(raw: object, report: _Row) -> dict[str, dict[str, Any]]:
    tools: dict[str, dict[str, Any]] = {}
    if raw is None:
        return tools
    if not isinstance(raw, list):
        report.problem("tools", f"expected a list, found {_kind(raw)}.")
        return tools
    for index, tool in enumerate(raw):
        function = tool.get("function") if isinstance(tool, dict) else None
        name = function.get("name") if isinstance(function, dict) else None
        if not isinstance(name, str) or not name:
            report.problem(f"tools[{index}].function.name", "missing or not a string.")
        elif name in tools:
            report.problem(f"tools[{index}].function.name", f"{_show(name)} is declared twice.")
        elif _schema_problem(_schema_text(tool)):
            report.problem(f"tools[{index}].function.parameters", f"not a JSON Schema: {_schema_problem(_schema_text(tool))}.")
        else:
            tools[name] = tool
    return tools


def _schema_text(tool: dict[str, Any]) -> str:
    return json.dumps(tool["function"].get("parameters") or {}, sort_keys=True)


@lru_cache(maxsize=4096)
def _validator(schema_text: str) -> Draft202012Validator:
    return Draft202012Validator(json.loads(schema_text))


@lru_cache(maxsize=4096)
def _schema_problem(schema_text: str) -> str:
    schema = json.loads(schema_text)
    if not isinstance(schema, dict):
        return "expected an object"
    if "$ref" in schema_text and "://" in schema_text:
        return "references to other documents are not followed"
    try:
        Draft202012Validator.check_schema(schema)
    except (SchemaError, RecursionError) as problem:
        return str(getattr(problem, "message", problem))
    return ""


def _read_message(raw: object, where: str, tools: dict[str, dict[str, Any]], report: _Row) -> Message | None:
    before = len(report.problems)
    if not isinstance(raw, dict):
        report.problem(where, f"expected an object, found {_kind(raw)}.")
        return None
    role = ROLES.get(raw.get("role")) if isinstance(raw.get("role"), str) else None  # type: ignore[arg-type]
    if role is None:
        report.problem(f"{where}.role", f"{_show(raw.get('role'))} is not one of {', '.join(ROLES)}.")
        return None
    content = _read_content(raw.get("content"), f"{where}.content", report)
    calls = _read_calls(raw.get("tool_calls"), f"{where}.tool_calls", tools, report) if role == "assistant" else ()
    if role != "assistant" and raw.get("tool_calls"):
        report.problem(f"{where}.tool_calls", f"only an assistant calls tools, this is the {role}.")
    call_id = raw.get("tool_call_id")
    if role == "tool" and (not isinstance(call_id, str) or not call_id):
        report.problem(f"{where}.tool_call_id", "missing: which call does this result answer?")
    if content is None and not calls and role != "tool" and len(report.problems) == before:
        report.problem(f"{where}.content", "missing.")
    if len(report.problems) > before:
        return None
    if role == "assistant" and calls and not content:
        content = None
    if role == "tool":
        return Message("tool", content or "", (), str(call_id))
    return Message(role, content, calls)  # type: ignore[arg-type]


def _read_content(raw: object, where: str, report: _Row) -> str | None:
    if raw is None or isinstance(raw, str):
        text = raw
    elif isinstance(raw, list):
        parts = []
        for index, part in enumerate(raw):
            value = part.get("text") if isinstance(part, dict) and part.get("type", "text") == "text" else part
            if not isinstance(value, str):
                report.problem(f"{where}[{index}]", "only text parts can be trained on.")
                return None
            parts.append(value)
        text = "".join(parts)
    else:
        report.problem(where, f"expected text, found {_kind(raw)}.")
        return None
    if text is not None and any("\ud800" <= char <= "\udfff" for char in text):
        report.problem(where, "holds half of a surrogate pair, which no tokenizer can read.")
        return None
    return text


def _read_calls(raw: object, where: str, tools: dict[str, dict[str, Any]], report: _Row) -> tuple[ToolCall, ...]:
    if raw is None:
        return ()
    if not isinstance(raw, list):
        report.problem(where, f"expected a list, found {_kind(raw)}.")
        return ()
    calls: list[ToolCall] = []
    for index, item in enumerate(raw):
        call = _read_call(item, f"{where}[{index}]", tools, report)
        if call and any(call.id == other.id for other in calls):
            report.problem(f"{where}[{index}].id", f"{_show(call.id)} is used twice in this turn.")
        if call:
            calls.append(call)
    return tuple(calls)


def _read_call(item: object, where: str, tools: dict[str, dict[str, Any]], report: _Row) -> ToolCall | None:
    function = item.get("function") if isinstance(item, dict) else None
    if not isinstance(item, dict) or not isinstance(function, dict):
        report.problem(f"{where}.function", "missing or not an object.")
        return None
    name, call_id = function.get("name"), item.get("id")
    if not isinstance(call_id, str) or not call_id:
        report.problem(f"{where}.id", "missing or not a string.")
        return None
    if not isinstance(name, str) or name not in tools:
        declared = ", ".join(tools) or "none"
        report.problem(f"{where}.function.name", f"{_show(name)} is not a declared tool (declared: {declared}).")
        return None
    arguments = _read_arguments(function.get("arguments"), f"{where}.function.arguments", report)
    if arguments is None:
        return None
    problems = list(_argument_problems(name, arguments, tools[name]))
    for problem in problems:
        report.problem(f"{where}.function.arguments", problem)
    return None if problems else ToolCall(call_id, name, arguments)


def _read_arguments(raw: object, where: str, report: _Row) -> dict[str, Any] | None:
    if isinstance(raw, str):
        try:
            raw = json.loads(raw or "{}")
        except (ValueError, RecursionError) as problem:
            report.problem(where, f"not JSON: {problem}: {_show(raw)}.")
            return None
    if not isinstance(raw, dict):
        report.problem(where, f"expected an object, found {_kind(raw)}.")
        return None
    return raw


def _argument_problems(name: str, arguments: dict[str, Any], tool: dict[str, Any]) -> Iterator[str]:
    for error in _validator(_schema_text(tool)).iter_errors(arguments):
        if error.validator == "required":
            missing = next(key for key in error.validator_value if key not in error.instance)
            yield f'missing "{missing}" (required by {name})'
        else:
            at = "".join(f".{part}" for part in error.path).lstrip(".")
            yield f"{at + ': ' if at else ''}{_show(error.instance)}: {error.message[:200]} (by {name})"


def _check_order(messages: list[Message], report: _Row) -> None:
    """Roles alternate as a chat can: system?, user, then assistant turns, each call answered once before the next."""
    open_calls: list[str] = []
    previous = "start"
    for index, message in enumerate(messages):
        where = f"messages[{index}]"
        if message.role == "tool":
            if message.tool_call_id not in open_calls:
                known = ", ".join(map(_show, open_calls)) or "none open"
                report.problem(f"{where}.tool_call_id", f"{_show(message.tool_call_id)} answers no open call ({known}).")
                return
            open_calls.remove(message.tool_call_id)
        elif open_calls:
            report.problem(where, f"call {_show(open_calls[0])} has no tool result before this {message.role} message.")
            return
        elif not _may_follow(message.role, previous):
            report.problem(f"{where}.role", f"{message.role} cannot follow {previous}.")
            return
        open_calls.extend(call.id for call in message.tool_calls)
        previous = message.role
    if previous != "assistant":
        report.problem(f"messages[{len(messages) - 1}]", f"the last message is the {previous}'s; it must be the assistant's.")
    elif open_calls:
        report.problem(f"messages[{len(messages) - 1}]", f"call {_show(open_calls[0])} has no tool result.")


def _may_follow(role: str, previous: str) -> bool:
    allowed = {"system": ("start",), "user": ("start", "system", "assistant"), "assistant": ("user", "tool")}
    return previous in allowed[role]


def _kind(value: object) -> str:
    names = {dict: "an object", list: "a list", str: "text", bool: "a boolean", type(None): "null"}
    return names.get(type(value), "a number")


def _show(value: object) -> str:
    text = json.dumps(value, ensure_ascii=False, default=str)
    return text if len(text) <= _MAX_SHOWN else text[: _MAX_SHOWN - 3] + "..."
