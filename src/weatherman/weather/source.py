"""Where the tools' answers come from when a person chats: made-up weather for real places, offline and repeatable."""

from __future__ import annotations

import datetime
import math
import unicodedata
from collections import defaultdict
from collections.abc import Callable
from functools import lru_cache
from random import Random
from typing import Any, Protocol

from weatherman.system.fingerprint import hash_text
from weatherman.weather.dataset.chat import forecast_result, place_result, weather_result
from weatherman.weather.dataset.climate import Weather, current_weather, forecast, spanning
from weatherman.weather.dataset.gazetteer import City, all_places

_NEAR_DEGREES = 1.0
_COUNTRIES = {
    "uk": "united kingdom", "great britain": "united kingdom", "us": "united states", "usa": "united states",
}  # fmt: skip
_HOURS_PER_DEGREE = 1 / 15
_MINUTES_STEP = 15


class WeatherSource(Protocol):
    """What executes the three weather tools; each method returns the tool's JSON result or raises `ToolError`."""

    @property
    def name(self) -> str:
        """A word for programs."""

    @property
    def label(self) -> str:
        """What people are told about where the weather comes from."""

    def geocode_location(self, city: str, country: str = "") -> dict[str, Any]:
        """The places of a name, best first."""

    def get_current_weather(self, latitude: float, longitude: float) -> dict[str, Any]:
        """The weather now."""

    def get_forecast(self, latitude: float, longitude: float, days: int) -> dict[str, Any]:
        """The days from today on."""


def _utc_now() -> datetime.datetime:
    return datetime.datetime.now(datetime.timezone.utc)


class MadeUpWeather:
    """Invented weather that fits place and season: the same for the same place and hour, consistent with its forecast.

    Args:
        now: tells the present in UTC.
    """

    name = "made-up"
    label = "weather made up for the place and the season (offline); not the real weather"

    def __init__(self, now: Callable[[], datetime.datetime] = _utc_now) -> None:
        self._now = now

    def geocode_location(self, city: str, country: str = "") -> dict[str, Any]:
        """All of the gazetteer's places of that name, the most populous first; `country` may also be a region."""
        found = _by_name().get(_plain(city.split(",")[0]), ())
        limit = _plain(country or ",".join(city.split(",")[1:]))
        limit = _COUNTRIES.get(limit, limit)
        return place_result(
            *(place for place in found if not limit or limit in (_plain(place.country), _plain(place.region)))
        )

    def get_current_weather(self, latitude: float, longitude: float) -> dict[str, Any]:
        """The weather at the place's mean solar time."""
        return weather_result(self._current(_place(latitude, longitude)))

    def get_forecast(self, latitude: float, longitude: float, days: int) -> dict[str, Any]:
        """The days from today on; today's span holds the present temperature."""
        place = _place(latitude, longitude)
        current = self._current(place)
        today = current.observed_at.date()
        found = forecast(_rng("forecast", place, today.isoformat()), place, today, days)
        return forecast_result([spanning(found[0], current.temperature_c), *found[1:]])

    def _current(self, place: City) -> Weather:
        moment = self._now() + datetime.timedelta(hours=place.longitude * _HOURS_PER_DEGREE)
        moment = moment.replace(
            minute=moment.minute // _MINUTES_STEP * _MINUTES_STEP, second=0, microsecond=0, tzinfo=None
        )
        return current_weather(_rng("now", place, moment.isoformat("T", "hours")), place, moment)


def _rng(*parts: object) -> Random:
    return Random(hash_text(*(f"{p.latitude},{p.longitude}" if isinstance(p, City) else str(p) for p in parts)))


def _place(latitude: float, longitude: float) -> City:
    """The gazetteer's place at these coordinates, else a nameless one."""

    def distance(place: City) -> float:
        across = (place.longitude - longitude) * math.cos(math.radians(latitude))
        return math.hypot(place.latitude - latitude, across)

    nearest = min(all_places(), key=distance)
    return nearest if distance(nearest) < _NEAR_DEGREES else City("", "", "", latitude, longitude, 0)


@lru_cache(maxsize=1)
def _by_name() -> dict[str, tuple[City, ...]]:
    found: dict[str, list[City]] = defaultdict(list)
    for place in all_places():
        found[_plain(place.name)].append(place)
    return {name: tuple(sorted(places, key=lambda place: -place.population)) for name, places in found.items()}


def _plain(text: str) -> str:
    """A name without case, accents and outer spaces."""
    letters = unicodedata.normalize("NFKD", text.strip().casefold())
    return "".join(letter for letter in letters if not unicodedata.combining(letter))
