"""A conversation under construction: messages, tool calls with their ids, and results as compact JSON."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import date
from random import Random
from typing import Any

from weatherman.tools.source import compact
from weatherman.weather.dataset.climate import Day, Weather
from weatherman.weather.dataset.gazetteer import City

WEEKDAYS = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")
NOW_KEYS = ("temperature_c", "feels_like_c", "humidity_pct", "wind_kmh", "gust_kmh", "wind_dir", "condition")
FORECAST_COLUMNS = ("day", "high_c", "low_c", "rain_chance_pct", "condition")
# Call ids are noise to be learnt. Three short words take half the tokens of nine random letters.
_ID_WORDS = re.findall(
    "...",
    "airsunskyiceraynetkeymaploginkjetvanhubrowfitmixsetdayageartactrunflyboxpenkitgemarcpinrimdotionredoldbignewhotown",
)


def place_result(*cities: City) -> dict[str, Any]:
    """The result of geocoding: the places found, best first."""
    found = []
    for city in cities:
        region = {"region": city.region} if city.region else {}
        found.append({"name": city.name, **region, "country": city.country, **coordinates(city)})
    return {"results": found}


def weather_result(weather: Weather) -> dict[str, Any]:
    """The result of asking for the present weather."""
    return {**{key: getattr(weather, key) for key in NOW_KEYS}, "time": weather.observed_at.strftime("%H:%M")}


def forecast_result(days: Iterable[Day]) -> dict[str, Any]:
    """The result of asking for a forecast: a table, since the names of its columns need not be said for each day."""
    rows = [[day_label(day.date), day.high_c, day.low_c, day.rain_chance_pct, day.condition] for day in days]
    return {"columns": list(FORECAST_COLUMNS), "days": rows}


def day_label(day: date) -> str:
    """``Sun 29``, in English whatever the locale."""
    return f"{WEEKDAYS[day.weekday()][:3]} {day.day}"


def coordinates(city: City) -> dict[str, float]:
    """The arguments that both weather tools share."""
    return {"latitude": _number(city.latitude), "longitude": _number(city.longitude)}


def _number(value: float) -> float:
    """A whole number without its ``.0``, which chat templates write in different ways."""
    return int(value) if value == int(value) else value


@dataclass
class Chat:
    """The messages so far; `places` are named by the user alone, beside their coordinates."""

    rng: Random
    messages: list[dict[str, Any]] = field(default_factory=list)
    places: list[str] = field(default_factory=list)

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
        ids = ["".join(self.rng.sample(_ID_WORDS, 3)) for _ in calls]
        listed = [
            {"id": id_, "type": "function", "function": {"name": name, "arguments": compact(arguments)}}
            for id_, (name, arguments, _) in zip(ids, calls, strict=True)
        ]
        self.messages.append({"role": "assistant", "content": None, "tool_calls": listed})
        for id_, (_, _, result) in zip(ids, calls, strict=True):
            self.messages.append({"role": "tool", "tool_call_id": id_, "content": compact(result)})
