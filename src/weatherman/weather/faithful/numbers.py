"""Whether every number of an answer is what a tool said, rightly converted, rounded or subtracted.

Written without the builder's code: it reads the finished text. What is held against the results: temperatures (°C, °F),
speeds (km/h, mph, m/s, knots), percentages, differences in degrees, counts of days, days of the month, and the quarter
that the wind comes from. A sentence that names places or days is held against the results of those alone. Any other
digit is a contradiction, except in a conversation's asides (statistics that are jokes, lore), which may not hold a
weather unit where tools were called. Numbers in words are idioms and are not read.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from decimal import ROUND_HALF_UP, Decimal
from itertools import combinations
from typing import Any

from weatherman.records import Conversation
from weatherman.weather.faithful.evidence import Evidence, Observation, Outlook, answers

_KMH_PER = {"km/h": 1.0, "mph": 1.609344, "m/s": 3.6, "knots": 1.852}
_NUMBER = r"(-?\d+(?:\.\d+)?)"
_TEMPERATURE = re.compile(_NUMBER + r" °([CF])")
_SPEED = re.compile(_NUMBER + r" (km/h|mph|m/s|knots)")
_PERCENT = re.compile(_NUMBER + r" %")
_DIFFERENCE = re.compile(_NUMBER + r" degrees?\b")
_NUM_DAYS = re.compile(r"\b(\d+) days\b")
_DAY_OF_MONTH = re.compile(r"\bthe (\d+)(?:st|nd|rd|th)\b")
_QUARTER = re.compile(r"\bthe ((?:north|south|east|west)(?:-?(?:north|south|east|west))*)\b")
_COMPASS = re.compile("north|south|east|west")
_WEATHER_UNIT = re.compile(r"°|km/h|mph|m/s|\bknots?\b|%|\bdegrees?\b|\bmm\b|\bCelsius\b|\bFahrenheit\b", re.IGNORECASE)
_SENTENCE_END = re.compile(r"(?<=[.!?])(?<!\bSt\.)(?<! [A-Z]\.)\"?\s+")
_LONGEST_FORECAST = 14


def contradictions(conversation: Conversation) -> Iterator[str]:
    """What an answer says that no tool said.

    Args:
        conversation: a validated conversation with the weather tools.

    Yields:
        One line for each contradiction.
    """
    asides = [str(aside) for aside in conversation.metadata.get("asides", ())]
    called = any(message.tool_calls for message in conversation.messages)
    for aside in asides:
        if called and _WEATHER_UNIT.search(aside):
            yield f"an aside with a weather unit: {aside}"
    evidence = Evidence()
    for answer, evidence in answers(conversation):
        text = _without(answer, asides)
        scales = set(re.findall(r"°([CF])", text)) or {"C", "F"}
        for sentence in _SENTENCE_END.split(text):
            yield from _sentence_problems(sentence, evidence, scales)
    for call in evidence.misplaced_calls:
        yield f"a call for a place that nobody named: {call}"


def _without(answer: str, asides: Iterable[str]) -> str:
    for aside in asides:
        answer = re.sub(re.escape(aside), "", answer, flags=re.IGNORECASE)
    return answer


def _sentence_problems(sentence: str, evidence: Evidence, scales: set[str]) -> Iterator[str]:
    here, ahead = evidence.about(sentence)
    days = [day for outlook in ahead for day in outlook.named(sentence)]
    temperatures = _values(here, "temperature_c", "feels_like_c") + _of(days, "high_c", "low_c")
    rest = sentence
    for shown, scale in _TEMPERATURE.findall(sentence):
        if not any(_is(shown, _on(scale, value)) for value in temperatures):
            yield f"{shown} °{scale} in: {sentence}"
    rest = _TEMPERATURE.sub("", rest)
    speeds = _values(here, "wind_kmh", "gust_kmh")
    for shown, unit in _SPEED.findall(rest):
        if not any(_is(shown, value / _KMH_PER[unit]) for value in speeds):
            yield f"{shown} {unit} in: {sentence}"
    rest = _SPEED.sub("", rest)
    percentages = _values(here, "humidity_pct") + _of(days, "rain_chance_pct")
    for shown in _PERCENT.findall(rest):
        if not any(_is(shown, value) for value in percentages):
            yield f"{shown} % in: {sentence}"
    rest = _PERCENT.sub("", rest)
    for shown in _DIFFERENCE.findall(rest):
        if not any(_is_difference(shown, a, b, scales) for a, b in _pairs(here, ahead)):
            yield f"{shown} degrees in: {sentence}"
    rest = _DIFFERENCE.sub("", rest)
    for shown in _NUM_DAYS.findall(rest):
        if int(shown) not in evidence.days_asked | {_LONGEST_FORECAST}:
            yield f"{shown} days in: {sentence}"
    rest = _NUM_DAYS.sub("", rest)
    dates = {int(label.split()[1]) for outlook in ahead for label, _ in outlook.days}
    for shown in _DAY_OF_MONTH.findall(rest):
        if int(shown) not in dates:
            yield f"the day {shown} in: {sentence}"
    rest = _DAY_OF_MONTH.sub("", rest)
    quarters = {one.values["wind_dir"] for one in here}
    for shown in _QUARTER.findall(rest) if evidence.called else ():
        if "".join(word[0].upper() for word in _COMPASS.findall(shown)) not in quarters:
            yield f"the {shown} in: {sentence}"
    for name in evidence.names:
        rest = rest.replace(name, "")
    if left := re.findall(r"\d[\d.,]*", rest):
        yield f"{', '.join(left)}, which is no reading, in: {sentence}"


def _values(observations: Iterable[Observation], *keys: str) -> list[float]:
    return _of((one.values for one in observations), *keys)


def _of(readings: Iterable[dict[str, Any]], *keys: str) -> list[float]:
    return [float(reading[key]) for reading in readings for key in keys if key in reading]


def _on(scale: str, celsius: float) -> float:
    return celsius * 1.8 + 32 if scale == "F" else celsius


def _is(shown: str, value: float) -> bool:
    """Whether a written number is a value, rounded to as many decimals as are written."""
    decimals = len(shown.partition(".")[2])
    return abs(float(shown) - value) <= 0.5 * 10**-decimals + 1e-6


def _pairs(here: list[Observation], ahead: list[Outlook]) -> list[tuple[float, float]]:
    """Temperatures that may be compared: of two places now, now and a day's high, or the highs of two days."""
    now = _values(here, "temperature_c")
    highs = [float(day["high_c"]) for outlook in ahead for _, day in outlook.days]
    return [*combinations(now, 2), *combinations(highs, 2), *((a, b) for a in now for b in highs)]


def _rounded(value: float, decimals: int) -> float:
    """Halves away from zero, as numbers are written by people."""
    return float(Decimal(f"{value:.6f}").quantize(Decimal(1).scaleb(-decimals), ROUND_HALF_UP))


def _is_difference(shown: str, first_c: float, second_c: float, scales: set[str]) -> bool:
    """Whether a written number is the distance of two temperatures, or of the two as they are written."""
    for scale in sorted(scales):
        first, second = _on(scale, first_c), _on(scale, second_c)
        distances = [abs(first - second), *(abs(_rounded(first, d) - _rounded(second, d)) for d in (0, 1))]
        if any(_is(shown, distance) for distance in distances):
            return True
    return False
