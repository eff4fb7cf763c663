"""Glaive's function calling, second version: one text `chat`, and the tools as JSON in the text `system`."""

from __future__ import annotations

import json
import re

from weatherman.data.changes import Changes
from weatherman.data.formats.form import SHOWN_CHARS, Form, Row, call_of, text_of, without
from weatherman.data.strict_json import strict_json

_SPEAKER = re.compile(r"(USER|ASSISTANT|FUNCTION RESPONSE):")
_CALL_MARK = "<functioncall>"
_END = "<|endoftext|>"
_QUOTED = re.compile(r"(\"arguments\"\s*:\s*)'(.*)'(\s*\}\s*)$", re.DOTALL)
_ROLES = {"USER": "user", "ASSISTANT": "assistant", "FUNCTION RESPONSE": "tool"}


def _to_openai(row: Row, changes: Changes) -> Row:
    system, tools = _tools_in(text_of(row, "system", or_empty=True).removeprefix("SYSTEM:").strip())
    if tools:
        changes.add("tools-from-prompt")
    chat = text_of(row, "chat")
    parts = _SPEAKER.split(chat)
    if parts[0].strip() or len(parts) < 3:
        raise ValueError(f"chat: expected USER: and ASSISTANT:, found {chat.strip()[:SHOWN_CHARS]!r}")
    messages: list[Row] = [{"role": "system", "content": system}] if system else []
    for place in range(1, len(parts), 2):
        messages.append(_message(parts[place], parts[place + 1].replace(_END, "").strip(), (place + 1) // 2))
    return {**without(row, "system", "chat"), "messages": messages, "tools": tools}


def _message(speaker: str, text: str, number: int) -> Row:
    if speaker == "ASSISTANT" and _CALL_MARK in text:
        before, _, body = text.partition(_CALL_MARK)
        return {"role": "assistant", "content": before.strip() or None, "tool_calls": [_call(body.strip(), number)]}
    return {"role": _ROLES[speaker], "content": text}


def _call(body: str, number: int) -> Row:
    """A call; its arguments stand as JSON between single quotes, which JSON does not know."""
    where = f"chat, turn {number}"
    match = _QUOTED.search(body)
    try:
        if match is None:
            return call_of(strict_json(body), where)
        head = strict_json(f"{body[: match.start()]}{match[1]}null{match[3]}")
        return call_of({**head, "arguments": strict_json(match[2].replace("\\'", "'"))}, where)
    except ValueError as problem:
        raise ValueError(f"{where}: the call is {problem}") from None


def _tools_in(text: str) -> tuple[str, list[object]]:
    """The words of a system prompt before its tools, and the tools: JSON objects one after another."""
    start = text.find("{")
    if start < 0:
        return text, []
    decoder, tools, place = json.JSONDecoder(), [], start
    while place < len(text):
        try:
            tool, place = decoder.raw_decode(text, place)
        except ValueError as problem:
            raise ValueError(f"system: a tool that is not JSON at column {place + 1}") from problem
        tools.append(tool)
        while place < len(text) and text[place] in " \t\r\n,;":
            place += 1
    return text[:start].rstrip(" -\n"), tools


GLAIVE = Form("glaive", ("system", "chat"), lambda row: isinstance(row.get("chat"), str), _to_openai)
