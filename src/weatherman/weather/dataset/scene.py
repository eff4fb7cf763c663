"""Everything one conversation is written with, and the moves that several scenarios share."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import date, datetime, timedelta
from functools import cache
from random import Random

from weatherman.weather.dataset.answers_now import Now
from weatherman.weather.dataset.chat import Chat, coordinates, forecast_result, place_result, weather_result
from weatherman.weather.dataset.climate import Day, Weather, current_weather, forecast
from weatherman.weather.dataset.gazetteer import City, CityPool, cities, namesakes
from weatherman.weather.dataset.plan import Slot
from weatherman.weather.dataset.situation import situation
from weatherman.weather.dataset.speech import Speaker
from weatherman.weather.dataset.split import is_held_out
from weatherman.weather.dataset.units import Units

_FIRST_DAY, _NUM_DAYS = date(2024, 1, 1), 912
_HOURS = [*range(24)]
_HOUR_WEIGHTS = [2, 1, 1, 1, 2, 4, 7, 9, 9, 8, 8, 8, 9, 8, 8, 8, 9, 10, 10, 9, 9, 8, 6, 4]
# Rare weather is looked for on purpose, so that every situation is learned.
_SOUGHT = ("", "snow", "fog", "cold", "storm", "wind", "heat", "rain", "clear", "dull")
_SOUGHT_WEIGHTS = (40, 9, 8, 8, 7, 8, 6, 7, 4, 3)
_NUM_TRIES = 40


@dataclass(frozen=True, slots=True)
class Scene:
    """One conversation being written."""

    slot: Slot
    seed: int
    rng: Random
    chat: Chat
    speaker: Speaker
    units: Units

    @property
    def exact_units(self) -> Units:
        """To a decimal, for temperatures that are compared, so that their difference is the one told."""
        return replace(self.units, decimals=1)

    def cities(self, count: int) -> list[City]:
        """Different places of this side of the split."""
        return city_pool(self.slot.scenario, self.slot.held_out, self.seed).draw(self.rng, count)

    def moment(self) -> datetime:
        """A local time."""
        day = _FIRST_DAY + timedelta(days=self.rng.randrange(_NUM_DAYS))
        hour = self.rng.choices(_HOURS, _HOUR_WEIGHTS)[0]
        return datetime(day.year, day.month, day.day, hour, self.rng.choice((0, 15, 30, 45)))

    def now(self, city: City | None = None) -> Now:
        """A place with its weather; of some tries the first in the situation that is looked for."""
        sought = self.rng.choices(_SOUGHT, _SOUGHT_WEIGHTS)[0]
        for _ in range(_NUM_TRIES):
            place = city or self.cities(1)[0]
            found = Now(place, current_weather(self.rng, place, self.moment()))
            if not sought or sought in situation(place, found.weather).weather:
                break
        return found

    def at(self, city: City, moment: datetime) -> Now:
        """Another place at the same hour and season."""
        return Now(city, current_weather(self.rng, city, moment))

    def days(self, city: City, start: date, count: int) -> list[Day]:
        """A forecast."""
        return forecast(self.rng, city, start, count)

    def geocode(self, *cities: City, named: str = "") -> None:
        """Look up places, in parallel if several."""
        self.chat.call(*(("geocode_location", {"city": named or city.name}, place_result(city)) for city in cities))

    def fetch_now(self, *found: Now) -> None:
        """Ask for present weather, in parallel if several."""
        self.chat.call(*(current_call(now.city, now.weather) for now in found))

    def fetch_forecast(self, city: City, days: list[Day]) -> None:
        """Ask for a forecast."""
        self.chat.call(forecast_call(city, days))

    def group(self, *cities: City) -> str:
        """The split group of places."""
        return f"{self.slot.scenario}/" + "+".join(sorted(city.key for city in cities))


def current_call(city: City, weather: Weather) -> tuple[str, dict, dict]:
    """One call for present weather and its result."""
    return "get_current_weather", dict(coordinates(city)), weather_result(weather)


def forecast_call(city: City, days: list[Day]) -> tuple[str, dict, dict]:
    """One call for a forecast and its result."""
    return "get_forecast", {**coordinates(city), "days": len(days)}, forecast_result(days)


@cache
def city_pool(scenario: str, held_out: bool, seed: int) -> CityPool:
    """The places of one side of a scenario."""
    return CityPool(city for city in cities() if is_held_out(scenario, city.key, seed) == held_out)


@cache
def namesake_pool(scenario: str, held_out: bool, seed: int) -> tuple[str, ...]:
    """The shared names of one side of a scenario."""
    return tuple(name for name in namesakes() if is_held_out(scenario, name, seed) == held_out)
