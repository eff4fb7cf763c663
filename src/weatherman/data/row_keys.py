"""The keys beside a row's messages: what carries meaning is honoured or refused by name, the rest is counted."""

from __future__ import annotations

from typing import Any

from weatherman.data.arguments import MAX_ENCODINGS
from weatherman.data.changes import Changes
from weatherman.data.reading import Reading
from weatherman.data.strict_json import strict_json

_SYSTEM_KEYS = ("system", "system_prompt")
_TOOLS_KEYS = ("available_tools", "functions")
_READ = {"messages", "tools", "metadata", *_SYSTEM_KEYS, *_TOOLS_KEYS}
# What a request or a book-keeper says of a row; it changes nothing in what is to be learnt.
_OF_NO_MEANING = {"id", "parallel_tool_calls"}
_CANNOT = {
    "chosen": "a preference pair, which is not trained on here",
    "rejected": "a preference pair, which is not trained on here",
    "images": "only text is trained on",
    "audios": "only text is trained on",
    "videos": "only text is trained on",
    "tool_choice": "a forced choice of tools cannot be told to a chat template",
    "response_format": "a forced form of answers cannot be told to a chat template",
    "function_call": "a forced call cannot be told to a chat template",
    "chat_template_kwargs": "options of a template belong into the configuration",
    "weight": "the weight of a whole row; mark its messages",
}


def decode_list(raw: object, changes: Changes) -> object:
    """A list that may be written as JSON text, in text again up to three times.

    Raises:
        ValueError: it is text that is no JSON.
    """
    if not isinstance(raw, str):
        return raw
    for _ in range(MAX_ENCODINGS):
        raw = strict_json(raw) if raw.strip() else None
        if not isinstance(raw, str):
            changes.add("tools-text")
            return raw
    raise ValueError(f"JSON text within JSON text, more than {MAX_ENCODINGS} deep")


def tools_of(row: dict[str, Any], reading: Reading, changes: Changes) -> object:
    """The tools that a row declares, under whichever key; else those that the reader was given.

    Raises:
        ValueError: two keys declare different tools, or the text is no JSON; made for the user.
    """
    named = {key: row[key] for key in ("tools", *_TOOLS_KEYS) if row.get(key)}
    if not named:
        if not reading.tools_text:
            return None
        changes.add(reading.tools_kind)
        return strict_json(reading.tools_text)
    first, *others = named
    if any(named[key] != named[first] for key in others):
        raise ValueError(f"{' and '.join(named)} declare different tools")
    changes.add("tools-key", int(first != "tools"))
    return decode_list(named[first], changes)


def with_system(messages: list[Any], row: dict[str, Any], changes: Changes) -> list[Any]:
    """Put a row's system prompt in front of its messages, unless they begin with the very same.

    Raises:
        ValueError: it is not text.
    """
    for key in _SYSTEM_KEYS:
        text = row.get(key)
        if text is None or text == "":
            continue
        if not isinstance(text, str):
            raise ValueError(f"{key}: expected text")
        first = messages[0] if isinstance(messages[0], dict) else {}
        if first.get("role") in ("system", "developer") and first.get("content") == text:
            continue
        changes.add("system-key")
        messages = [{"role": "system", "content": text}, *messages]
    return messages


def check_keys(row: dict[str, Any], changes: Changes) -> list[tuple[str, str]]:
    """Look at what is neither messages nor tools.

    Args:
        row: the decoded row.
        changes: counts the keys that are not read.

    Returns:
        Keys that carry a meaning which cannot be honoured, each with the reason.
    """
    problems = []
    for key, value in row.items():
        if key in _READ or key in _OF_NO_MEANING or value is None or value in ("", [], {}):
            continue
        if key == "weight" and value == 1:
            continue
        if key in _CANNOT:
            problems.append((key, _CANNOT[key]))
        else:
            changes.leave_out(key)
    return problems
