"""Messages in the form in which servers hand them to a chat template."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from typing import Any

from weatherman.records import Message
from weatherman.system.fingerprint import hash_text

_MISTRAL_ID = re.compile(r"[A-Za-z0-9]{9}")
_MISTRAL_ID_LENGTH = 9


class QuotedText:
    """A text that `tojson` quotes, and that the template does not take for JSON because it begins like it."""

    def __init__(self, text: str) -> None:
        self.text = text


def server_messages(messages: Iterable[Message]) -> list[dict[str, Any]]:
    """Messages as OpenAI's clients send them: nothing is None, arguments are objects, empty lists of calls are absent.

    Args:
        messages: a conversation's, or its beginning.
    """
    found = []
    for message in messages:
        one: dict[str, Any] = {"role": message.role, "content": message.content or ""}
        if message.reasoning:
            # gpt-oss reads another name than the rest; transformers fills both.
            one["reasoning_content"] = one["thinking"] = message.reasoning
        if message.tool_calls:
            one["tool_calls"] = [
                {"id": call.id, "type": "function", "function": {"name": call.name, "arguments": call.arguments}}
                for call in message.tool_calls
            ]
        if message.tool_call_id is not None:
            one["tool_call_id"] = message.tool_call_id
        found.append(one)
    return found


def mistral_v3_messages(messages: Iterable[Message]) -> list[dict[str, Any]]:
    """As mistral-common takes them: ids of 9 letters and digits, results that are JSON as values of JSON.

    Args:
        messages: a conversation's, or its beginning.
    """
    found = server_messages(messages)
    for one in found:
        for call in one.get("tool_calls", ()):
            call["id"] = _mistral_id(call["id"])
        if "tool_call_id" in one:
            one["tool_call_id"] = _mistral_id(one["tool_call_id"])
            one["content"] = _spelled_anew(one["content"])
    return found


def _mistral_id(id_: str) -> str:
    return id_ if _MISTRAL_ID.fullmatch(id_) else hash_text(id_)[:_MISTRAL_ID_LENGTH]


def _spelled_anew(text: str) -> Any:
    """A result that is JSON is decoded, and the template spells it anew; any other stays a text."""
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        value = text
    return QuotedText(value) if isinstance(value, str) else value
