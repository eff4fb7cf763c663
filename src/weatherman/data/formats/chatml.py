"""ChatML: a whole conversation in one text, ``<|im_start|>role``, what is said, ``<|im_end|>``."""

from __future__ import annotations

import re

from weatherman.data.changes import Changes
from weatherman.data.formats.form import SHOWN_CHARS, Form, Row, without
from weatherman.data.formats.hermes import tagged_messages, tools_from_prompt
from weatherman.data.formats.sharegpt import ROLES, turns_of

_TURN = re.compile(r"<\|im_start\|>\s*(\w+)\s*\n(.*?)<\|im_end\|>\s*", re.DOTALL)
_START = "<|im_start|>"


def _to_openai(row: Row, changes: Changes) -> Row:
    turns = _turns(row["text"]) if "text" in row else turns_of(row)
    messages = tagged_messages(turns)
    kept = without(row, "text", "conversations", "conversation")
    return {**tools_from_prompt(messages, kept, changes), "messages": messages}


def _turns(text: object) -> list[tuple[str, str, Row]]:
    if not isinstance(text, str):
        raise ValueError("text: expected text")
    turns: list[tuple[str, str, Row]] = []
    place = len(text) - len(text.lstrip())
    while place < len(text):
        match = _TURN.match(text, place)
        if match is None:
            shown = text[place : place + SHOWN_CHARS]
            raise ValueError(f"text: turn {len(turns) + 1} is not between <|im_start|> and <|im_end|>: {shown!r}")
        role = ROLES.get(match[1])
        if role is None or _START in match[2]:
            raise ValueError(f"text: turn {len(turns) + 1} has no end, or an unknown role {match[1][:SHOWN_CHARS]!r}")
        turns.append((role, match[2].strip("\n"), {}))
        place = match.end()
    return turns


def _fits(row: Row) -> bool:
    if isinstance(row.get("text"), str):
        return _START in row["text"]
    turns = row.get("conversations", row.get("conversation"))
    return isinstance(turns, list) and any(isinstance(turn, dict) and "role" in turn for turn in turns)


CHATML = Form("chatml", ("text", "<|im_start|>"), _fits, _to_openai)
