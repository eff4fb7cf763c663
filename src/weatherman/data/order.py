"""The order of a conversation: what can be put right is, and counted; what cannot is named."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from weatherman.data.changes import Changes
from weatherman.data.schema import show
from weatherman.data.spelling import given_id
from weatherman.records import Message

Problem = Callable[[str, str], None]


def put_in_order(raw: Sequence[Any], changes: Changes) -> list[Any]:
    """Merge system messages at the start, trim what follows the last answer, give ids where calls or results have none.

    Args:
        raw: the decoded messages; those that are no objects are left where they are.
        changes: counts what is changed.

    Returns:
        The messages; the same objects where nothing had to be changed.
    """
    return _with_ids(_trimmed(_with_one_system(list(raw), changes), changes), changes)


def _role(message: Any) -> Any:
    return message.get("role") if isinstance(message, dict) else None


def _with_one_system(raw: list[Any], changes: Changes) -> list[Any]:
    num_systems = 0
    while num_systems < len(raw) and _role(raw[num_systems]) in ("system", "developer"):
        num_systems += 1
    texts = [message.get("content") for message in raw[:num_systems]]
    if num_systems < 2 or not all(isinstance(text, str) for text in texts):
        return raw
    changes.add("system-merged", num_systems - 1)
    return [{**raw[0], "content": "\n\n".join(text for text in texts if text)}, *raw[num_systems:]]


def _trimmed(raw: list[Any], changes: Changes) -> list[Any]:
    end = len(raw)
    while end and _role(raw[end - 1]) in ("user", "tool", "system", "developer"):
        end -= 1
    if not end:  # nobody answers: told where the order is checked
        return raw
    changes.add("turns-trimmed", len(raw) - end)
    return raw[:end]


def _with_ids(raw: list[Any], changes: Changes) -> list[Any]:
    """Ids for calls and results that have none, each result the next open call's, by its tool's name if it says one."""
    if not any(_lacks_id(message) for message in raw):
        return raw
    taken = {call.get("id") for message in raw for call in _calls(message)}
    found, open_calls, number = [], [], 0
    for message in raw:
        if calls := _calls(message):
            named = []
            for call in calls:
                if not call.get("id"):
                    while given_id(number) in taken:
                        number += 1
                    call, number = {**call, "id": given_id(number)}, number + 1
                    changes.add("ids-given")
                named.append(call)
            message, open_calls = {**message, "tool_calls": named}, list(named)
        elif _role(message) == "tool":
            answered = _answered(message, open_calls)
            if answered is not None:
                open_calls.remove(answered)
                changes.add("ids-given", int(not message.get("tool_call_id")))
                message = {**message, "tool_call_id": answered["id"]}
        found.append(message)
    return found


def _lacks_id(message: Any) -> bool:
    if _role(message) == "tool":
        return not message.get("tool_call_id")
    return any(not call.get("id") for call in _calls(message))


def _calls(message: Any) -> list[dict[str, Any]]:
    calls = message.get("tool_calls") if isinstance(message, dict) else None
    return calls if isinstance(calls, list) and all(isinstance(call, dict) for call in calls) else []


def _answered(result: dict[str, Any], open_calls: Sequence[dict[str, Any]]) -> dict[str, Any] | None:
    """The open call that a result answers; a result without an id answers the first of its name."""
    call_id, name = result.get("tool_call_id"), result.get("name")
    if call_id:
        return next((call for call in open_calls if call["id"] == call_id), None)
    of_name = [call for call in open_calls if (call.get("function") or {}).get("name") == name]
    return next(iter(of_name or ([] if name else open_calls)), None)


def check_order(messages: Sequence[Message], problem: Problem) -> None:
    """Roles alternate as a chat can: system?, user, then assistant turns, each call answered once before the next.

    Args:
        messages: the conversation.
        problem: told the place and what is wrong there, at most once.
    """
    open_calls: list[str] = []
    previous = "start"
    for index, message in enumerate(messages):
        where = f"messages[{index}]"
        if message.role == "tool":
            if message.tool_call_id not in open_calls:
                known = ", ".join(map(show, open_calls)) or "none open"
                problem(f"{where}.tool_call_id", f"{show(message.tool_call_id)} answers no open call ({known}).")
                return
            open_calls.remove(message.tool_call_id)
        elif open_calls:
            problem(where, f"call {show(open_calls[0])} has no tool result before this {message.role} message.")
            return
        elif not _may_follow(message.role, previous):
            problem(f"{where}.role", f"{message.role} cannot follow {previous}.")
            return
        open_calls.extend(call.id for call in message.tool_calls)
        previous = message.role
    if previous != "assistant":
        last = f"messages[{len(messages) - 1}]"
        problem(last, f"the last message is the {previous}'s; it must be the assistant's.")


def _may_follow(role: str, previous: str) -> bool:
    allowed = {"system": ("start",), "user": ("start", "system", "assistant"), "assistant": ("user", "tool")}
    return previous in allowed[role]


def in_call_order(messages: Sequence[Message]) -> tuple[Message, ...]:
    """Results in the order of their calls: a template without ids tells parallel results apart by their place alone."""
    ordered = list(messages)
    for index, message in enumerate(messages):
        if len(message.tool_calls) > 1:
            place = {call.id: number for number, call in enumerate(message.tool_calls)}
            results = slice(index + 1, index + 1 + len(place))
            ordered[results] = sorted(messages[results], key=lambda result: place[result.tool_call_id or ""])
    return tuple(ordered)
