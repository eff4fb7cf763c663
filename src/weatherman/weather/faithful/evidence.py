"""What the tools said in a conversation, by place and day: the evidence that an answer's numbers are held against."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

from weatherman.records import Conversation, Message

_WEEKDAYS = ("monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday")
_DAYS = re.compile(
    r"\b(today|tonight|tomorrow|" + "|".join(_WEEKDAYS) + r")\b(?: the (\d+)(?:st|nd|rd|th))?", re.IGNORECASE
)
_FROM, _BETWEEN = re.compile(r"\bfrom $", re.IGNORECASE), re.compile(" to ")


@dataclass(frozen=True, slots=True)
class Observation:
    """The present weather at a place; `place` is empty where only coordinates are known."""

    place: str
    values: dict[str, Any]


@dataclass(frozen=True, slots=True)
class Outlook:
    """A forecast: the labels (``Sun 29``) and values of its days, the first of which is today."""

    place: str
    days: tuple[tuple[str, dict[str, Any]], ...]

    def named(self, sentence: str) -> list[dict[str, Any]]:
        """The days that a sentence names, with those in between ("from Friday to Sunday"); all if it names none."""
        matches = list(_DAYS.finditer(sentence))
        found = {index for match in matches if (index := self._day_index(match)) is not None}
        for first, last in pairwise(matches):
            if _BETWEEN.fullmatch(sentence[first.end() : last.start()]) and _FROM.search(sentence[: first.start()]):
                ends = self._day_index(first), self._day_index(last)
                if None not in ends:
                    found |= set(range(ends[0], ends[1] + 1))  # type: ignore[operator,arg-type]
        return [self.days[index][1] for index in sorted(found)] or [values for _, values in self.days]

    def _day_index(self, match: re.Match[str]) -> int | None:
        name, number = match[1].lower(), match[2]
        for offset, (label, _) in enumerate(self.days):
            weekday, _, day = label.lower().partition(" ")
            if name in ("today", "tonight", "tomorrow"):
                right = offset == (name == "tomorrow")
            elif number:
                right = day == number and name.startswith(weekday)
            else:
                right = 0 < offset < 7 and name.startswith(weekday)
            if right:
                return offset
        return None


@dataclass
class Evidence:
    """Results so far: places found (by coordinates), present weather, forecasts, and what was asked for."""

    places: dict[tuple[float, float], str] = field(default_factory=dict)
    names: set[str] = field(default_factory=set)
    observations: list[Observation] = field(default_factory=list)
    outlooks: list[Outlook] = field(default_factory=list)
    days_asked: set[int] = field(default_factory=set)
    misplaced_calls: list[str] = field(default_factory=list)

    @property
    def called(self) -> bool:
        """Whether any tool has said anything."""
        return bool(self.places or self.observations or self.outlooks)

    def about(self, sentence: str) -> tuple[list[Observation], list[Outlook]]:
        """The results for the places that a sentence names; all of them if it names none."""
        text = sentence.casefold()
        named = {name for name in self.names if name.casefold() in text}
        here = [one for one in self.observations if one.place in named or not one.place]
        ahead = [one for one in self.outlooks if one.place in named or not one.place]
        return (here, ahead) if here or ahead else (self.observations, self.outlooks)


def answers(conversation: Conversation) -> Iterator[tuple[str, Evidence]]:
    """Each answer of a conversation with its evidence: the results since the user's turn, or else all before it.

    Args:
        conversation: a validated conversation.
    """
    whole, turn = Evidence(), Evidence()
    calls: dict[str, tuple[str, dict[str, Any]]] = {}
    said = ""
    for message in conversation.messages:
        if message.role == "user":
            said += f" {message.content}"
            turn = Evidence(
                whole.places, whole.names, days_asked=whole.days_asked, misplaced_calls=whole.misplaced_calls
            )
            whole.days_asked |= {int(number) for number in re.findall(r"\b(\d+) days", message.content or "")}
        elif message.tool_calls:
            calls |= {call.id: (call.name, call.arguments) for call in message.tool_calls}
            _check_places(message, whole, said)
        elif message.role == "tool":
            name, arguments = calls[message.tool_call_id or ""]
            for evidence in (whole, turn):
                _add(evidence, name, arguments, _decoded(message.content or ""))
        elif message.role == "assistant" and message.content:
            yield message.content, turn if turn.observations or turn.outlooks else whole


def _check_places(message: Message, evidence: Evidence, said: str) -> None:
    for call in message.tool_calls:
        where = call.arguments.get("latitude"), call.arguments.get("longitude")
        if None not in where and where not in evidence.places and not all(str(number) in said for number in where):
            evidence.misplaced_calls.append(f"{call.name}{where}")


def _decoded(content: str) -> dict[str, Any]:
    try:
        value = json.loads(content)
    except ValueError:
        return {}
    return value if isinstance(value, dict) else {}


def _add(evidence: Evidence, name: str, arguments: dict[str, Any], result: dict[str, Any]) -> None:
    if name == "geocode_location":
        for place in result.get("results", ()):
            evidence.places[place["latitude"], place["longitude"]] = place["name"]
            evidence.names.add(place["name"])
        return
    place = evidence.places.get((arguments["latitude"], arguments["longitude"]), "")
    if "temperature_c" in result:
        evidence.observations.append(Observation(place, result))
    if "days" in result:
        days = tuple((row[0], dict(zip(result["columns"], row, strict=True))) for row in result["days"])
        evidence.outlooks.append(Outlook(place, days))
        evidence.days_asked.add(arguments["days"])
