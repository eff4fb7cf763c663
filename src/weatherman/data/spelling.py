"""One spelling for what templates, servers and exports would else spell differently: call ids and tool results.

It is made once, where a row is read; every room behind sees it and nothing else.
"""

from __future__ import annotations

import json
import re
from typing import Any

from weatherman.system.fingerprint import hash_text

ID_LENGTH = 9
_ID = re.compile(r"[A-Za-z0-9]{9}")
_JSON_TEXT = re.compile(r'"(?:[^"\\]|\\.)*"')
_SPACE = re.compile(r"[ \t\n\r]+")
_EXACT_INTEGER = 2.0**53
_SPELLED_ANEW = re.compile(r"\\u|\\/|\.\d*0(?!\d)|\.\d{16}|\d[eE]|-0(?![\d.])")


def nine_letters(call_id: str) -> str:
    """A call id of nine letters and digits, as Mistral's templates demand: itself, or the start of its hash."""
    return call_id if _ID.fullmatch(call_id) else hash_text(call_id)[:ID_LENGTH]


def given_id(number: int) -> str:
    """The id of a call that has none: its number in the conversation, from 0."""
    return f"call{number:05d}"


def one_spelling(value: Any) -> Any:
    """A JSON value whose numbers every language spells alike: 25.0 becomes 25."""
    if isinstance(value, float) and value.is_integer() and abs(value) < _EXACT_INTEGER:
        return int(value)
    if isinstance(value, list):
        return [one_spelling(item) for item in value]
    if isinstance(value, dict):
        return {key: one_spelling(item) for key, item in value.items()}
    return value


def spell_result(text: str) -> str:
    """A tool's result as all spell it: numbers in one way, characters as they are; other texts are not touched.

    Args:
        text: the result; where it is a JSON value its spaces are kept as they are as long as nothing else changes.

    Returns:
        The text, or the JSON value written anew.
    """
    if not _SPELLED_ANEW.search(text):
        return text
    try:
        value = json.loads(text)
        wanted = json.dumps(one_spelling(value), ensure_ascii=False, separators=(",", ":"), allow_nan=False)
        wanted.encode("utf-8")
    except (ValueError, RecursionError):
        return text
    if _compact(text) == wanted:
        return text
    spaced = _SPACE.search(_JSON_TEXT.sub("", text)) is not None
    return json.dumps(json.loads(wanted), ensure_ascii=False) if spaced else wanted


def _compact(text: str) -> str:
    """JSON without the spaces outside of its texts."""
    found, place = [], 0
    for quoted in _JSON_TEXT.finditer(text):
        found += [_SPACE.sub("", text[place : quoted.start()]), quoted[0]]
        place = quoted.end()
    return "".join([*found, _SPACE.sub("", text[place:])])
