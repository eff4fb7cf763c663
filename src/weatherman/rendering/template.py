"""What chat templates are made of: pieces of text and control tokens, and the record that names a template."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from weatherman.records import Conversation, Message, ToolCall
from weatherman.system.fingerprint import hash_text


@dataclass(frozen=True, slots=True)
class Piece:
    """A control token (`special`) or a text; `supervised` if the assistant produced it."""

    text: str
    special: bool = False
    supervised: bool = False


@dataclass(frozen=True, slots=True)
class Template:
    """A named way from conversation to pieces and back.

    A template works on pieces, not on one long string, so that text from data is never read as a control token, and so
    that what the assistant said itself is known exactly: those pieces are supervised.

    Attributes:
        name: what configs call it.
        version: raised whenever the pieces change; a test holds the rendered tokens against it.
        jinja: the same template in the form that chat servers read.
        stop_token: the control token that ends the assistant's turn.
        call_token: the control token that begins a turn of tool calls, if the template has one.
        views: one list of pieces per context in which the assistant speaks (docs/decisions/views.md).
        prompt: the pieces that ask for the assistant's next turn.
        parse: reads a generated turn; a call that is not well-formed makes the whole turn text.
        holds_text_beside_calls: whether a turn may both say something and call tools.
    """

    name: str
    version: int
    jinja: str
    stop_token: str
    call_token: str | None
    views: Callable[[Conversation], list[list[Piece]]]
    prompt: Callable[[Conversation], list[Piece]]
    parse: Callable[[str], Message]
    holds_text_beside_calls: bool = True

    @property
    def hash(self) -> str:
        """SHA-256 that identifies the template's output."""
        return hash_text(self.name, str(self.version), self.jinja)


def special(token: str, *, supervised: bool = False) -> Piece:
    """Make the piece of a control token."""
    return Piece(token, special=True, supervised=supervised)


def to_json(value: Any) -> str:
    """JSON as both templates spell it: spaces after comma and colon, characters as they are."""
    return json.dumps(value, ensure_ascii=False)


def read_call(raw: object, index: int) -> ToolCall | None:
    """Read one generated call, ``{"name": …, "arguments": {…}}``.

    Args:
        raw: the decoded JSON value.
        index: the call's place in its turn; makes the id of a call that has none.

    Returns:
        The call, or None if it is not well-formed.
    """
    if not isinstance(raw, dict) or not isinstance(raw.get("name"), str) or not isinstance(raw.get("arguments"), dict):
        return None
    given = raw.get("id")
    call_id = given if isinstance(given, str) and given else f"call{index:05d}"
    return ToolCall(call_id, raw["name"], raw["arguments"])
