"""The texts of a message: what is said, what a tool gave, what was thought; and the report that collects problems."""

from __future__ import annotations

import json
from typing import Any

from weatherman.data.changes import Changes
from weatherman.data.spelling import spell_result
from weatherman.data.strict_json import unreadable_character
from weatherman.errors import WeathermanError
from weatherman.records import Role

_TEXT_PARTS = ("text", "input_text", "output_text")
REASONING_KEYS = ("reasoning_content", "reasoning", "thinking")


class Report:
    """Collects the problems of one row while it is read, and what is changed in it."""

    def __init__(self, source: str, made: Changes | None) -> None:
        self.source = source
        self.problems: list[WeathermanError] = []
        self.changes = Changes(made or {})

    def problem(self, where: str, text: str, hint: str = "") -> None:
        """Note what is wrong at a place."""
        self.problems.append(WeathermanError("data.invalid", f"{self.source} {where}: {text}", hint))

    def text(self, where: str, text: str) -> None:
        """Look at a text that a tokenizer will read."""
        if half := unreadable_character(text):
            self.problem(where, f"holds {half}, half of a character, which no tokenizer can read.")


def read_reasoning(raw: dict[str, Any], role: Role, where: str, report: Report) -> str | None:
    """What the assistant thought before it spoke, under whichever key."""
    named = {key: raw[key] for key in REASONING_KEYS if raw.get(key)}
    if not named:
        return None
    key, text = next(iter(named.items()))
    if role != "assistant":
        report.problem(f"{where}.{key}", f"only an assistant's thoughts are read, this is the {role}.")
    elif not isinstance(text, str) or any(other != text for other in named.values()):
        report.problem(f"{where}.{key}", "expected one text.")
    else:
        report.text(f"{where}.{key}", text)
        return text
    return None


def read_content(message: dict[str, Any], where: str, report: Report) -> str | None:
    """What is said, as one text; None where nothing is."""
    raw, where = message.get("content"), f"{where}.content"
    if raw is None:
        return None
    parts = [raw] if isinstance(raw, str) else raw
    if not isinstance(parts, list):
        report.problem(where, f"expected text, found {kind_of(raw)}.")
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


def read_result(message: dict[str, Any], where: str, report: Report) -> str | None:
    """A tool's result in the one spelling; an object is written as JSON."""
    raw = message.get("content")
    is_parts = isinstance(raw, list) and all(isinstance(part, dict) and part.get("type") in _TEXT_PARTS for part in raw)
    if raw is not None and not isinstance(raw, str) and not is_parts:
        report.changes.add("results-as-json")
        message = {**message, "content": json.dumps(raw, ensure_ascii=False)}
    text = read_content(message, where, report)
    spelled = spell_result(text or "")
    report.changes.add("results-respelled", int(spelled != (text or "")))
    return spelled


def kind_of(value: object) -> str:
    """A JSON value's kind, for messages."""
    names = {dict: "an object", list: "a list", str: "text", bool: "a boolean", type(None): "null"}
    return names.get(type(value), "a number")
