"""What a reader of a form is, and what several of them share."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from weatherman.data.changes import Changes

Row = dict[str, Any]
SHOWN_CHARS = 40


@dataclass(frozen=True, slots=True)
class Form:
    """One way in which files write conversations.

    Attributes:
        name: what ``--from`` calls it.
        keys: a row's telling keys, for the message about files that nobody recognises.
        fits: whether a row looks like this form.
        to_openai: makes it a row in the OpenAI form; a ValueError's text is made for the user.
    """

    name: str
    keys: Sequence[str]
    fits: Callable[[Row], bool]
    to_openai: Callable[[Row, Changes], Row]


def without(row: Row, *keys: str) -> Row:
    """A row's other keys, which the reader of the OpenAI form looks at."""
    return {key: value for key, value in row.items() if key not in keys}


def text_of(row: Row, key: str, *, or_empty: bool = False) -> str:
    """A row's text.

    Raises:
        ValueError: it is missing or no text.
    """
    value = row.get(key)
    if value is None and or_empty:
        return ""
    if not isinstance(value, str):
        raise ValueError(f"{key}: {'missing' if value is None else 'expected text'}")
    return value


def call_of(value: object, where: str) -> Row:
    """One call, ``{"name": …, "arguments": …}``, in the OpenAI form.

    Raises:
        ValueError: it is none.
    """
    if not isinstance(value, dict) or not isinstance(value.get("name"), str):
        raise ValueError(f"{where}: expected an object with `name` and `arguments`")
    arguments = value.get("arguments", value.get("parameters"))
    return {"type": "function", "function": {"name": value["name"], "arguments": arguments}}
