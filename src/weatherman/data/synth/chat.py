"""A conversation under construction: messages, tool calls with their ids, and results as compact JSON."""

from __future__ import annotations

import json
import string
from dataclasses import asdict, dataclass, field
from random import Random
from typing import Any

from weatherman.data.synth.climate import Day, Weather
from weatherman.data.synth.gazetteer import City

_ID_LETTERS = string.ascii_letters + string.digits


def compact(value: Any) -> str:
    """JSON without spaces."""
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))


def place_result(*cities: City) -> dict[str, Any]:
    """The result of geocoding: the places found, best first."""
    found = []
    for city in cities:
        region = {"region": city.region} if city.region else {}
        where = {"latitude": city.latitude, "longitude": city.longitude}
        found.append({"name": city.name, **region, "country": city.country, **where})
    return {"results": found}


def weather_result(weather: Weather) -> dict[str, Any]:
    """The result of asking for the present weather."""
    fields = asdict(weather)
    fields.pop("observed_at")
    return {**fields, "observed_at": weather.observed_at.isoformat(timespec="minutes")}


def forecast_result(days: list[Day]) -> dict[str, Any]:
    """The result of asking for a forecast."""
    return {"daily": [{**asdict(day), "date": day.date.isoformat()} for day in days]}


def coordinates(city: City) -> dict[str, float]:
    """The arguments that both weather tools share."""
    return {"latitude": city.latitude, "longitude": city.longitude}


@dataclass
class Chat:
    """The messages so far."""

    rng: Random
    messages: list[dict[str, Any]] = field(default_factory=list)

    def system(self, text: str) -> None:
        """The persona."""
        self.messages.append({"role": "system", "content": text})

    def user(self, text: str) -> None:
        """The user's turn."""
        self.messages.append({"role": "user", "content": text})

    def answer(self, text: str) -> None:
        """The assistant's words."""
        self.messages.append({"role": "assistant", "content": text})

    def call(self, *calls: tuple[str, dict[str, Any], dict[str, Any]]) -> None:
        """One assistant turn of tool calls, followed by their results.

        Args:
            calls: (tool, arguments, result) of each.
        """
        ids = ["".join(self.rng.choice(_ID_LETTERS) for _ in range(9)) for _ in calls]
        listed = [
            {"id": id_, "type": "function", "function": {"name": name, "arguments": compact(arguments)}}
            for id_, (name, arguments, _) in zip(ids, calls, strict=True)
        ]
        self.messages.append({"role": "assistant", "content": None, "tool_calls": listed})
        for id_, (_, _, result) in zip(ids, calls, strict=True):
            self.messages.append({"role": "tool", "tool_call_id": id_, "content": compact(result)})
