"""Figures in an answer that nobody gave: neither a tool's result nor the user nor the system prompt.

A general rule over the words of a conversation, for any tools. A figure is given if it stands somewhere before the
answer, rounded perhaps, scaled (1.7 million, 45 % for 0.45), in another common unit, or as the length of a list in a
result. What is computed from two figures, such as a difference, no tool gave: it is told too. Numbers in words are
idioms as often as figures, and are not read in an answer.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

from weatherman.records import Message

_FIGURE = re.compile(
    r"(?<![\w.])(?P<sign>[-−])?(?P<digits>\d+(?:[.,:]\d+)*)(?P<unit>\s?(?:%|°\s?[A-Za-z]?|[A-Za-z/]+))?"
)
_LIST_MARK = re.compile(r"^\s*\d+[.)]\s", re.MULTILINE)
_THOUSANDS = re.compile(r"\d{1,3}(?:,\d{3})+(?:\.\d+)?")
_CLOCK = re.compile(r"(\d{1,2}):(\d\d)(?::\d\d)?")
_WORDS = "zero one two three four five six seven eight nine ten eleven twelve".split()
_NAMED = {word: float(number) for number, word in enumerate(_WORDS)} | {"fortnight": 14.0, "week": 7.0}
_SCALES = {"thousand": 1e3, "million": 1e6, "billion": 1e9}
_KM_PER_MILE, _KM_PER_NAUTICAL_MILE, _M_PER_FOOT, _MM_PER_INCH = 1.609344, 1.852, 0.3048, 25.4
_UNITS: dict[str, Callable[[float], float]] = {  # from the metric value that a tool is likely to give
    "°f": lambda value: value * 9 / 5 + 32,
    "mph": lambda value: value / _KM_PER_MILE,
    "miles": lambda value: value / _KM_PER_MILE,
    "knots": lambda value: value / _KM_PER_NAUTICAL_MILE,
    "m/s": lambda value: value / 3.6,
    "feet": lambda value: value / _M_PER_FOOT,
    "inches": lambda value: value / _MM_PER_INCH,
    "%": lambda value: value * 100,
}
_SPELLINGS = {
    "f": "°f", "fahrenheit": "°f", "mile": "miles", "mi": "miles", "knot": "knots", "kn": "knots", "ft": "feet",
    "inch": "inches", "in": "inches", "percent": "%",
}  # fmt: skip
_LARGEST = 1e300
_SHOWN_UNIT = re.compile(r"\s?(?:%|°\s?[CFK]?|km/h|m/s|mph|knots?)$", re.IGNORECASE)


def figures_nobody_gave(answer: str, before: Sequence[Message]) -> tuple[str, ...]:
    """Find the figures of an answer that the conversation before it does not give.

    Args:
        answer: the assistant's text.
        before: the messages up to the answer; the assistant's own words give nothing.

    Returns:
        Each such figure once, as it is written, with its unit where that is a common one.
    """
    given = list(_given(message for message in before if message.role != "assistant"))
    text = _LIST_MARK.sub(" ", answer)
    strange = (_shown(found) for found in _FIGURE.finditer(text) if not _is_given(found, given))
    return tuple(dict.fromkeys(strange))


def _given(messages: Iterable[Message]) -> Iterator[float]:
    for message in messages:
        text = message.content or ""
        if message.role == "tool":
            yield from _of_result(text)
        else:
            yield from _of_text(text)
            yield from (_NAMED[word] for word in re.findall(r"[a-z]+", text.lower()) if word in _NAMED)


def _of_text(text: str) -> Iterator[float]:
    for found in _FIGURE.finditer(text):
        yield from _numbers(found)


def _of_result(text: str) -> Iterator[float]:
    """The numbers of a JSON result, those in its texts, and the lengths of its lists; of other text its figures."""
    try:
        waiting: list[Any] = [json.loads(text)]
    except (ValueError, RecursionError):
        yield from _of_text(text)
        return
    while waiting:
        value = waiting.pop()
        if isinstance(value, dict):
            waiting += value.values()
        elif isinstance(value, list):
            yield float(len(value))
            waiting += value
        elif isinstance(value, str):
            yield from _of_text(value)
        elif isinstance(value, (int, float)) and not isinstance(value, bool) and abs(value) < _LARGEST:
            yield float(value)


def _numbers(found: re.Match[str]) -> Iterator[float]:
    """What a figure of a result or of the user's gives; a time of day also gives its hour on both clocks."""
    value, _ = _read(found)
    yield value
    if clock := _CLOCK.fullmatch(found["digits"]):
        hour, minute = int(clock[1]), int(clock[2])
        yield from (float(hour), float(hour % 12 or 12), float(minute))
        yield from (hour % 12 * 60.0 + minute, (hour % 12 or 12) * 60.0 + minute)


def _read(found: re.Match[str]) -> tuple[float, int]:
    """A figure's value and how many decimals it has; a time of day is minutes."""
    digits = found["digits"]
    if clock := _CLOCK.fullmatch(digits):
        return int(clock[1]) * 60.0 + int(clock[2]), 0
    plain = digits.replace(",", "") if _THOUSANDS.fullmatch(digits) else digits.replace(",", ".")
    whole, _, decimals = plain.partition(".")
    value = float(f"{whole}.{re.sub('[.:]', '', decimals) or 0}")
    return (-value if found["sign"] else value), len(decimals)


def _is_given(found: re.Match[str], given: Sequence[float]) -> bool:
    value, num_decimals = _read(found)
    unit = (found["unit"] or "").strip().lower().replace(" ", "")
    unit = _SPELLINGS.get(unit, unit)
    scale = _SCALES.get(unit, 1.0)
    convert = _UNITS.get(unit)
    tolerance = 0.5 * 10.0**-num_decimals * scale + 1e-9
    for known in given:
        for candidate in (known, convert(known)) if convert else (known,):
            if abs(candidate - value * scale) <= tolerance or (
                not found["sign"] and abs(abs(candidate) - value * scale) <= tolerance
            ):
                return True
    return False


def _shown(found: re.Match[str]) -> str:
    unit = found["unit"] or ""
    return f"{found['sign'] or ''}{found['digits']}{unit if _SHOWN_UNIT.match(unit) else ''}"
