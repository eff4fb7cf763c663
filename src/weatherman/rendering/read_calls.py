"""A generated turn's text back to a message, for the ways of writing calls that are read here."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from typing import Any

from weatherman.records import Message, ToolCall

_OPEN, _CLOSE = "<tool_call>", "</tool_call>"
_SPACE = re.compile(r"\s*")
_decoder = json.JSONDecoder()


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


def read_tagged(text: str) -> Message:
    """Text, then calls between `<tool_call>` tags, one JSON object each; anything else is text.

    What was thought before that, between `<think>` tags, is kept apart.
    """
    thought, ended, rest = text.partition("</think>")
    if ended and thought.lstrip().startswith("<think>"):
        said = read_tagged(rest)
        return replace(said, reasoning=thought.lstrip().removeprefix("<think>").strip() or None)
    begin = text.find(_OPEN)
    calls = _tagged_calls(text[begin:]) if begin >= 0 else None
    if not calls:
        return Message("assistant", text.strip())
    return Message("assistant", text[:begin].strip() or None, tuple(calls))


def _tagged_calls(text: str) -> list[ToolCall] | None:
    """Read a text that is nothing but calls; JSON decides where each ends, since a value may spell the closing tag."""
    calls: list[ToolCall] = []
    place = 0
    while place < len(text):
        if not text.startswith(_OPEN, place):
            return None
        try:
            raw, place = _decoder.raw_decode(text, _after_space(text, place + len(_OPEN)))
        except (ValueError, RecursionError):
            return None
        place = _after_space(text, place)
        call: Any = read_call(raw, len(calls))
        if call is None or not text.startswith(_CLOSE, place):
            return None
        calls.append(call)
        place = _after_space(text, place + len(_CLOSE))
    return calls


def _after_space(text: str, place: int) -> int:
    match = _SPACE.match(text, place)
    return match.end() if match else place


def read_json(text: str) -> Message:
    """Either text, or one JSON object with a name and `parameters`, as Llama 3 writes a call."""
    whole = Message("assistant", text.strip())
    try:
        raw = json.loads(text)
    except (ValueError, RecursionError):
        return whole
    if isinstance(raw, dict) and "parameters" in raw:
        raw = {"name": raw.get("name"), "arguments": raw["parameters"]}
    call = read_call(raw, 0)
    return Message("assistant", None, (call,)) if call else whole


def read_mistral(text: str) -> Message:
    """Either text, or `[TOOL_CALLS]` and a JSON list of calls."""
    before, marker, body = text.partition("[TOOL_CALLS]")
    whole = Message("assistant", text.strip())
    if not marker or before.strip():
        return whole
    try:
        raw = json.loads(body)
    except (ValueError, RecursionError):
        return whole
    calls = [read_call(item, index) for index, item in enumerate(raw if isinstance(raw, list) else [raw])]
    if not calls or None in calls:
        return whole
    return Message("assistant", None, tuple(call for call in calls if call))
