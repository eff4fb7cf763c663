"""Check one row of chat data and normalise the variants that OpenAI-style files have into a `Conversation`."""

from __future__ import annotations

import json
from typing import Any

from weatherman.data.arguments import decode_arguments
from weatherman.data.changes import Changes
from weatherman.data.masks import MARKS, read_mark, with_masks
from weatherman.data.order import check_order, in_call_order, put_in_order
from weatherman.data.reading import PLAIN, Reading
from weatherman.data.row_keys import check_keys, decode_list, tools_of, with_system
from weatherman.data.schema import Tools, parameters_of, read_tools, show
from weatherman.data.spelling import nine_letters
from weatherman.data.texts import REASONING_KEYS, Report, kind_of, read_content, read_reasoning, read_result
from weatherman.errors import WeathermanError
from weatherman.records import Conversation, Message, Role, ToolCall

ROLES: dict[str, Role] = {
    "system": "system",
    "developer": "system",
    "user": "user",
    "assistant": "assistant",
    "tool": "tool",
}
_READ = {"role", "content", "tool_calls", "tool_call_id", "function_call", *REASONING_KEYS, *MARKS}
_OF_NO_MEANING = {"name", "id", "index", "type", "annotations"}
_CANNOT = {
    "refusal": "a refusal is no content",
    "audio": "only text is trained on",
    "images": "only text is trained on",
}


def validate_row(
    row: object,
    source: str,
    reading: Reading = PLAIN,
    changes: Changes | None = None,
    *,
    made: Changes | None = None,
) -> tuple[Conversation | None, list[WeathermanError]]:
    """Check a decoded row in the OpenAI form.

    Accepted variants: `content` null or absent beside tool calls, content as a list of text parts, arguments as a JSON
    string or an object, several calls in a turn, `developer` for `system`, `tools` absent, a call as the last message.
    The results of parallel calls are put in the order of the calls. What else is put right is counted.

    Args:
        row: the decoded JSON value.
        source: file and line, e.g. ``train.jsonl:418``.
        reading: what is trained on, and whether anything may be changed.
        changes: gets the count of what was changed, if the row is valid.
        made: what was changed already to bring the row into this form.

    Returns:
        The conversation (None if anything is wrong) and the problems.
    """
    report = Report(source, made)
    conversation = _read_row(row, reading, report)
    if reading.strict and not report.problems:
        for phrase in report.changes.in_words():
            report.problem("row", f"would be changed: {phrase}.", "--strict refuses what must be changed.")
    if report.problems:
        return None, report.problems
    if changes is not None:
        changes.update(report.changes)
    return conversation, []


def _read_row(row: object, reading: Reading, report: Report) -> Conversation | None:
    if not isinstance(row, dict):
        report.problem("row", f"expected an object, found {kind_of(row)}.", "one conversation a line is expected.")
        return None
    for key, reason in check_keys(row, report.changes):
        report.problem(key, f"{reason}.", "take the key out if it does not matter.")
    try:
        place = "messages"
        raw = decode_list(row.get("messages"), report.changes)
        if not isinstance(raw, list) or not raw:
            report.problem(place, "expected a list with at least one message." if "messages" in row else "missing.")
            return None
        place = "system"
        raw = with_system(raw, row, report.changes)
        place = "tools"
        tools = read_tools(tools_of(row, reading, report.changes))
    except ValueError as problem:
        report.problem(place, f"{problem}.")
        return None
    report.changes.update(tools.changes)
    for place, text in tools.problems:
        report.problem(place, text)
    metadata = row.get("metadata")
    if metadata is not None and not isinstance(metadata, dict):
        report.problem("metadata", f"expected an object, found {kind_of(metadata)}.")
    messages = _read_messages(put_in_order(raw, report.changes), tools, reading, report)
    return Conversation(tuple(messages), tuple(tools.declared.values()), metadata or {}, report.source)


def _read_messages(raw: list[Any], tools: Tools, reading: Reading, report: Report) -> list[Message]:
    ids: dict[str, str] = {}
    read = [_read_message(one, f"messages[{index}]", tools, ids, report) for index, one in enumerate(raw)]
    messages = [message for message in read if message is not None]
    if len(messages) < len(read):
        return messages
    check_order(messages, report.problem)
    marks = [_mark(one, f"messages[{index}]", report) for index, one in enumerate(raw)]
    if report.problems:
        return messages
    report.changes.add("ids-respelled", sum(given != own for given, own in ids.items()))
    masked = with_masks(messages, marks, reading.train_on)
    if not any(message.trained for message in masked if message.role == "assistant"):
        told = "every answer is marked not to be" if reading.train_on == "all" else f"train_on is {reading.train_on}"
        report.problem("messages", f"nothing in this row is trained on: {told}.", "leave the row out.")
    return list(in_call_order(masked))


def _mark(raw: dict[str, Any], where: str, report: Report) -> bool | None:
    try:
        mark = read_mark(raw)
    except ValueError as problem:
        report.problem(where, f"{problem}.")
        return None
    if mark and raw["role"] != "assistant" and "weight" not in raw:
        report.problem(where, f"the {raw['role']}'s turn is marked to be trained on; only the assistant's are.")
    return mark


def _read_message(raw: object, where: str, tools: Tools, ids: dict[str, str], report: Report) -> Message | None:
    before = len(report.problems)
    if not isinstance(raw, dict):
        report.problem(where, f"expected an object, found {kind_of(raw)}.")
        return None
    name = raw.get("role")
    role = ROLES.get(name) if isinstance(name, str) else None
    if role is None:
        report.problem(f"{where}.role", f"{show(name)} is not one of {', '.join(ROLES)}.")
        return None
    _check_message_keys(raw, where, report)
    content = read_result(raw, where, report) if role == "tool" else read_content(raw, where, report)
    calls: tuple[ToolCall, ...] = ()
    if role == "assistant":
        calls = _read_calls(raw.get("tool_calls"), f"{where}.tool_calls", tools, ids, report)
    elif raw.get("tool_calls"):
        report.problem(f"{where}.tool_calls", f"only an assistant calls tools, this is the {role}.")
    call_id = raw.get("tool_call_id")
    if role == "tool" and (not isinstance(call_id, str) or not call_id):
        report.problem(f"{where}.tool_call_id", "missing: which call does this result answer?")
    reasoning = read_reasoning(raw, role, where, report)
    if len(report.problems) == before:
        if content is None and not calls and role != "tool":
            report.problem(f"{where}.content", "missing.")
        elif role == "assistant" and not calls and not (content or "").strip():
            report.problem(f"{where}.content", "the assistant says nothing.")
    if len(report.problems) > before:
        return None
    if role == "tool":
        return Message("tool", content or "", (), nine_letters(str(call_id)))
    return Message(role, (content or None) if calls else content, calls, reasoning=reasoning)


def _check_message_keys(raw: dict[str, Any], where: str, report: Report) -> None:
    """Refuse what would be trained on differently from what the file says; count what is not read."""
    if raw.get("function_call"):
        report.problem(f"{where}.function_call", "the old form of a call.", "use tool_calls.")
    for key, value in raw.items():
        if key in _READ or key in _OF_NO_MEANING or value is None or value in ("", [], {}):
            continue
        if key in _CANNOT:
            report.problem(f"{where}.{key}", f"{_CANNOT[key]}.", "take the key out if it does not matter.")
        else:
            report.changes.leave_out(f"of a message: {key}")


def _read_calls(raw: object, where: str, tools: Tools, ids: dict[str, str], report: Report) -> tuple[ToolCall, ...]:
    if raw is None:
        return ()
    if not isinstance(raw, list):
        report.problem(where, f"expected a list, found {kind_of(raw)}.")
        return ()
    calls: dict[str, ToolCall] = {}
    for index, item in enumerate(raw):
        call = _read_call(item, f"{where}[{index}]", tools, ids, report)
        if call and call.id in calls:
            report.problem(f"{where}[{index}].id", f"{show(item['id'])} is used twice in this turn.")
        elif call:
            calls[call.id] = call
    return tuple(calls.values())


def _read_call(item: Any, where: str, tools: Tools, ids: dict[str, str], report: Report) -> ToolCall | None:
    function = item.get("function") if isinstance(item, dict) else None
    if not isinstance(item, dict) or not isinstance(function, dict):
        report.problem(f"{where}.function", "missing or not an object.")
        return None
    name, call_id = function.get("name"), item.get("id")
    if item.get("type", "function") not in ("function", None):
        report.problem(f"{where}.type", f'{show(item["type"])} is not "function".')
        return None
    if not isinstance(call_id, str) or not call_id:
        report.problem(f"{where}.id", "missing or not text.")
        return None
    if not isinstance(name, str) or name not in tools.declared:
        if tools.problems:  # a declaration that cannot be read is told once, not at every call of it
            return ToolCall(nine_letters(call_id), str(name), {})
        declared = ", ".join(tools.declared) or "none"
        report.problem(f"{where}.function.name", f"{show(name)} is not a declared tool (declared: {declared}).")
        return None
    arguments = _read_arguments(function, name, f"{where}.function.arguments", tools, report)
    if arguments is None:
        return None
    ids[call_id] = nine_letters(call_id)
    return ToolCall(ids[call_id], name, arguments)


def _read_arguments(
    function: dict[str, Any], name: str, where: str, tools: Tools, report: Report
) -> dict[str, Any] | None:
    raw = function.get("arguments")
    try:
        arguments = decode_arguments(raw, parameters_of(tools.declared[name]), report.changes)
    except ValueError as problem:
        report.problem(where, f"{problem}: {show(raw)}.")
        return None
    if not isinstance(arguments, dict):
        report.problem(where, f"expected an object, found {kind_of(arguments)}.")
        return None
    for text in tools.argument_problems(name, arguments):
        report.problem(where, text)
    report.text(where, json.dumps(arguments, ensure_ascii=False))
    return arguments
