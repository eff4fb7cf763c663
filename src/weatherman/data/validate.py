"""Check one row of chat data and normalise the variants that OpenAI-style files have into a `Conversation`."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from weatherman.data.schema import Tools, read_tools, show
from weatherman.data.strict_json import strict_json, unreadable_character
from weatherman.errors import WeathermanError
from weatherman.records import Conversation, Message, Role, ToolCall

ROLES: dict[str, Role] = {
    "system": "system",
    "developer": "system",
    "user": "user",
    "assistant": "assistant",
    "tool": "tool",
}
_TEXT_PARTS = ("text", "input_text", "output_text")


class _Report:
    """Collects the problems of one row while it is read."""

    def __init__(self, source: str) -> None:
        self.source = source
        self.problems: list[WeathermanError] = []

    def problem(self, where: str, text: str, hint: str = "") -> None:
        self.problems.append(WeathermanError("data.invalid", f"{self.source} {where}: {text}", hint))

    def text(self, where: str, text: str) -> None:
        if half := unreadable_character(text):
            self.problem(where, f"holds {half}, half of a character, which no tokenizer can read.")


def validate_row(row: object, source: str) -> tuple[Conversation | None, list[WeathermanError]]:
    """Check a decoded row.

    Accepted variants: `content` null or absent beside tool calls, content as a list of text parts, arguments as a JSON
    string or an object, several calls in a turn, `developer` for `system`, `tools` absent. The results of parallel
    calls are put in the order of the calls.

    Args:
        row: the decoded JSON value.
        source: file and line, e.g. ``train.jsonl:418``.

    Returns:
        The conversation (None if anything is wrong) and the problems.
    """
    report = _Report(source)
    if not isinstance(row, dict):
        report.problem("row", f"expected an object, found {_kind(row)}.", "one conversation a line is expected.")
        return None, report.problems
    raw_messages = row.get("messages")
    if not isinstance(raw_messages, list) or not raw_messages:
        report.problem("messages", "expected a list with at least one message." if "messages" in row else "missing.")
        return None, report.problems
    tools = read_tools(row.get("tools"))
    for place, text in tools.problems:
        report.problem(place, text)
    read = [_read_message(raw, f"messages[{index}]", tools, report) for index, raw in enumerate(raw_messages)]
    metadata = row.get("metadata")
    if metadata is not None and not isinstance(metadata, dict):
        report.problem("metadata", f"expected an object, found {_kind(metadata)}.")
    messages = [message for message in read if message is not None]
    if len(messages) == len(read):
        _check_order(messages, report)
    if report.problems:
        return None, report.problems
    return Conversation(_in_call_order(messages), tuple(tools.declared.values()), metadata or {}, source), []


def _read_message(raw: object, where: str, tools: Tools, report: _Report) -> Message | None:
    before = len(report.problems)
    if not isinstance(raw, dict):
        report.problem(where, f"expected an object, found {_kind(raw)}.")
        return None
    name = raw.get("role")
    role = ROLES.get(name) if isinstance(name, str) else None
    if role is None:
        report.problem(f"{where}.role", f"{show(name)} is not one of {', '.join(ROLES)}.")
        return None
    content = _read_content(raw.get("content"), f"{where}.content", report)
    calls: tuple[ToolCall, ...] = ()
    if role == "assistant":
        calls = _read_calls(raw.get("tool_calls"), f"{where}.tool_calls", tools, report)
        _check_assistant(raw, where, report)
    elif raw.get("tool_calls"):
        report.problem(f"{where}.tool_calls", f"only an assistant calls tools, this is the {role}.")
    call_id = raw.get("tool_call_id")
    if role == "tool" and (not isinstance(call_id, str) or not call_id):
        report.problem(f"{where}.tool_call_id", "missing: which call does this result answer?")
    if len(report.problems) > before:
        return None
    if content is None and not calls and role != "tool":
        report.problem(f"{where}.content", "missing.")
    elif role == "assistant" and not calls and not (content or "").strip():
        report.problem(f"{where}.content", "the assistant says nothing.")
    if len(report.problems) > before:
        return None
    if role == "tool":
        return Message("tool", content or "", (), call_id)
    return Message(role, (content or None) if calls else content, calls)


def _check_assistant(raw: dict[str, Any], where: str, report: _Report) -> None:
    """Refuse what would be trained on differently from what the file says."""
    if raw.get("function_call"):
        report.problem(f"{where}.function_call", "the old form of a call.", "use tool_calls.")
    if raw.get("weight", 1) not in (1, None):
        report.problem(f"{where}.weight", "every assistant turn is trained on.", "leave the row or the turn out.")


def _read_content(raw: object, where: str, report: _Report) -> str | None:
    if raw is None:
        return None
    parts = [raw] if isinstance(raw, str) else raw
    if not isinstance(parts, list):
        report.problem(where, f"expected text, found {_kind(raw)}.")
        return None
    texts = []
    for index, part in enumerate(parts):
        text = part.get("text") if isinstance(part, dict) and part.get("type", "text") in _TEXT_PARTS else part
        if not isinstance(text, str):
            report.problem(f"{where}[{index}]", "only text parts can be trained on.")
            return None
        texts.append(text)
    report.text(where, "".join(texts))
    return "".join(texts)


def _read_calls(raw: object, where: str, tools: Tools, report: _Report) -> tuple[ToolCall, ...]:
    if raw is None:
        return ()
    if not isinstance(raw, list):
        report.problem(where, f"expected a list, found {_kind(raw)}.")
        return ()
    calls: dict[str, ToolCall] = {}
    for index, item in enumerate(raw):
        call = _read_call(item, f"{where}[{index}]", tools, report)
        if call and call.id in calls:
            report.problem(f"{where}[{index}].id", f"{show(call.id)} is used twice in this turn.")
        elif call:
            calls[call.id] = call
    return tuple(calls.values())


def _read_call(item: object, where: str, tools: Tools, report: _Report) -> ToolCall | None:
    function = item.get("function") if isinstance(item, dict) else None
    if not isinstance(item, dict) or not isinstance(function, dict):
        report.problem(f"{where}.function", "missing or not an object.")
        return None
    name, call_id = function.get("name"), item.get("id")
    if item.get("type", "function") != "function":
        report.problem(f"{where}.type", f'{show(item["type"])} is not "function".')
        return None
    if not isinstance(call_id, str) or not call_id:
        report.problem(f"{where}.id", "missing or not text.")
        return None
    if not isinstance(name, str) or name not in tools.declared:
        declared = ", ".join(tools.declared) or "none"
        report.problem(f"{where}.function.name", f"{show(name)} is not a declared tool (declared: {declared}).")
        return None
    arguments = _read_arguments(function.get("arguments"), f"{where}.function.arguments", report)
    if arguments is None:
        return None
    for problem in tools.argument_problems(name, arguments):
        report.problem(f"{where}.function.arguments", problem)
    report.text(f"{where}.function.arguments", json.dumps(arguments, ensure_ascii=False))
    return ToolCall(call_id, name, arguments)


def _read_arguments(raw: object, where: str, report: _Report) -> dict[str, Any] | None:
    if isinstance(raw, str):
        try:
            raw = strict_json(raw or "{}")
        except ValueError as problem:
            report.problem(where, f"{problem}: {show(raw)}.")
            return None
    if not isinstance(raw, dict):
        report.problem(where, f"expected an object, found {_kind(raw)}.")
        return None
    return raw


def _check_order(messages: Sequence[Message], report: _Report) -> None:
    """Roles alternate as a chat can: system?, user, then assistant turns, each call answered once before the next."""
    open_calls: list[str] = []
    previous = "start"
    for index, message in enumerate(messages):
        where = f"messages[{index}]"
        if message.role == "tool":
            if message.tool_call_id not in open_calls:
                known = ", ".join(map(show, open_calls)) or "none open"
                report.problem(f"{where}.tool_call_id", f"{show(message.tool_call_id)} answers no open call ({known}).")
                return
            open_calls.remove(message.tool_call_id)
        elif open_calls:
            report.problem(where, f"call {show(open_calls[0])} has no tool result before this {message.role} message.")
            return
        elif not _may_follow(message.role, previous):
            report.problem(f"{where}.role", f"{message.role} cannot follow {previous}.")
            return
        open_calls.extend(call.id for call in message.tool_calls)
        previous = message.role
    last = f"messages[{len(messages) - 1}]"
    if open_calls:
        report.problem(last, f"call {show(open_calls[0])} has no tool result.")
    elif previous != "assistant":
        report.problem(last, f"the last message is the {previous}'s; it must be the assistant's.")


def _may_follow(role: str, previous: str) -> bool:
    allowed = {"system": ("start",), "user": ("start", "system", "assistant"), "assistant": ("user", "tool")}
    return previous in allowed[role]


def _in_call_order(messages: Sequence[Message]) -> tuple[Message, ...]:
    """Results in the order of their calls: a template without ids tells parallel results apart by their place alone."""
    ordered = list(messages)
    for index, message in enumerate(messages):
        if len(message.tool_calls) > 1:
            place = {call.id: number for number, call in enumerate(message.tool_calls)}
            results = slice(index + 1, index + 1 + len(place))
            ordered[results] = sorted(messages[results], key=lambda result: place[result.tool_call_id or ""])
    return tuple(ordered)


def _kind(value: object) -> str:
    names = {dict: "an object", list: "a list", str: "text", bool: "a boolean", type(None): "null"}
    return names.get(type(value), "a number")
