"""ShareGPT: `conversations` of `from` and `value`; calls and results as turns of their own."""

from __future__ import annotations

from typing import Any

from weatherman.data.changes import Changes
from weatherman.data.formats.form import SHOWN_CHARS, Form, Row, call_of, without
from weatherman.data.masks import MARKS
from weatherman.data.strict_json import strict_json

ROLES = {
    "system": "system", "human": "user", "user": "user", "gpt": "assistant", "assistant": "assistant",
    "chatgpt": "assistant", "bot": "assistant", "model": "assistant", "function_call": "function_call",
    "observation": "tool", "tool": "tool", "function_response": "tool", "function": "tool",
}  # fmt: skip


def turns_of(row: Row) -> list[tuple[str, str, Row]]:
    """Role, text and marks of each turn.

    Raises:
        ValueError: a turn is none.
    """
    turns = row.get("conversations", row.get("conversation"))
    if isinstance(turns, str):
        turns = strict_json(turns)
    if not isinstance(turns, list) or not turns:
        raise ValueError("conversations: expected a list with at least one turn")
    return [_turn(turn, f"conversations[{index}]") for index, turn in enumerate(turns)]


def _turn(turn: object, where: str) -> tuple[str, str, Row]:
    if not isinstance(turn, dict):
        raise ValueError(f"{where}: expected an object")
    named = turn.get("from", turn.get("role"))
    text = turn.get("value", turn.get("content"))
    role = ROLES.get(named) if isinstance(named, str) else None
    if role is None:
        raise ValueError(f"{where}.from: {str(named)[:SHOWN_CHARS]!r} is not one of {', '.join(ROLES)}")
    if not isinstance(text, str):
        raise ValueError(f"{where}.value: expected text")
    return role, text, {key: turn[key] for key in MARKS if turn.get(key) is not None}


def _to_openai(row: Row, changes: Changes) -> Row:
    messages: list[Row] = []
    for index, (role, text, marks) in enumerate(turns_of(row)):
        if role == "function_call":
            messages.append({"role": "assistant", "content": None, "tool_calls": _calls(text, index), **marks})
        else:
            messages.append({"role": role, "content": text, **marks})
    return {**without(row, "conversations", "conversation"), "messages": messages}


def _calls(text: str, index: int) -> list[Row]:
    where = f"conversations[{index}].value"
    try:
        value: Any = strict_json(text)
    except ValueError as problem:
        raise ValueError(f"{where}: a call that is {problem}") from None
    return [call_of(one, where) for one in (value if isinstance(value, list) else [value])]


def fits(row: Row) -> bool:
    """Whether a row has turns of `from` and `value`."""
    turns = row.get("conversations", row.get("conversation"))
    if isinstance(turns, str):
        return '"from"' in turns
    return isinstance(turns, list) and any(isinstance(turn, dict) and "from" in turn for turn in turns)


SHAREGPT = Form("sharegpt", ("conversations", "from", "value"), fits, _to_openai)
