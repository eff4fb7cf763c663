"""TRL's prompts and completions, as texts or as messages: only the completion is trained on."""

from __future__ import annotations

from weatherman.data.changes import Changes
from weatherman.data.formats.form import Form, Row, without


def _to_openai(row: Row, changes: Changes) -> Row:
    if "messages" in row:
        return row
    prompt, completion = (_messages(row.get(key), key, role) for key, role in _PARTS)
    for message in prompt:
        if message.get("role") == "assistant":
            message["train"] = False
    return {**without(row, "prompt", "completion"), "messages": [*prompt, *completion]}


_PARTS = (("prompt", "user"), ("completion", "assistant"))


def _messages(value: object, key: str, role: str) -> list[Row]:
    if isinstance(value, str):
        return [{"role": role, "content": value}]
    if not isinstance(value, list) or not all(isinstance(one, dict) for one in value):
        raise ValueError(f"{key}: expected text or a list of messages")
    return [dict(one) for one in value]


TRL = Form("trl", ("prompt", "completion"), lambda row: "prompt" in row and "completion" in row, _to_openai)
