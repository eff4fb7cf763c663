"""What the weather is *like*: the tags by which a fragment is allowed to speak about it."""

from __future__ import annotations

import math
from dataclasses import dataclass
from datetime import datetime

from weatherman.weather.dataset.climate import FALLING, SNOWY, Weather
from weatherman.weather.dataset.gazetteer import City

HOT_C, FREEZING_C, WINDY_KMH, GUSTY_KMH = 30.0, 0.0, 40, 50


@dataclass(frozen=True, slots=True)
class Situation:
    """Tags that hold: `weather` (rain, heat, ...), `times` (morning, day, evening, night), `moods` (good, bad)."""

    weather: frozenset[str] = frozenset()
    times: frozenset[str] = frozenset()
    moods: frozenset[str] = frozenset()

    def allows(self, tag: str) -> bool:
        """Whether one tag expression such as ``rain+night`` holds; ``any`` holds for all weather."""
        weather, *limits = tag.split("+")
        held = self.times | self.moods
        return (weather == "any" or weather in self.weather) and all(limit in held for limit in limits)


ANYWHERE = Situation()


def situation(city: City, weather: Weather) -> Situation:
    """The tags of a place's weather."""
    return Situation(_weather_tags(weather), _times(city, weather.observed_at), _moods(weather))


def _weather_tags(weather: Weather) -> frozenset[str]:
    tags = set()
    condition, temperature = weather.condition, weather.temperature_c
    if condition == "thunderstorm":
        tags.add("storm")
    elif condition in SNOWY:
        tags.add("rain" if condition == "sleet" else "snow")
    elif condition in FALLING:
        tags.add("rain")
    elif condition == "fog":
        tags.add("fog")
    elif condition == "clear sky":
        tags |= {"clear", "bare"}
    elif condition == "mostly clear":
        tags.add("clear")
    elif condition == "overcast":
        tags.add("dull")
    else:
        tags.add("cloudy")
    if (weather.wind_kmh >= WINDY_KMH or weather.gust_kmh >= GUSTY_KMH) and condition != "thunderstorm":
        tags.add("wind")
    if temperature >= HOT_C and condition not in FALLING:
        tags.add("heat")
    if temperature < FREEZING_C and condition not in FALLING:
        tags.add("cold")
    return frozenset(tags)


def sun_height_deg(city: City, moment: datetime) -> float:
    """Height of the sun above the horizon, taking clock time for solar time (good to a few degrees)."""
    declination = -0.4093 * math.cos(2 * math.pi * (moment.timetuple().tm_yday + 10) / 365.25)
    latitude = math.radians(city.latitude)
    angle = 2 * math.pi * (moment.hour + moment.minute / 60 - 12) / 24
    height = math.sin(latitude) * math.sin(declination) + math.cos(latitude) * math.cos(declination) * math.cos(angle)
    return math.degrees(math.asin(height))


def _times(city: City, moment: datetime) -> frozenset[str]:
    hour, height = moment.hour, sun_height_deg(city, moment)
    times = set()
    if 5 <= hour < 11:
        times.add("morning")
    if 7 <= hour < 18 and height > 3:
        times.add("day")
    if 17 <= hour < 22:
        times.add("evening")
    if (hour >= 21 or hour < 5) and height < -4:
        times.add("night")
    return frozenset(times)


def _moods(weather: Weather) -> frozenset[str]:
    pleasant = 13 <= weather.feels_like_c <= 27 and weather.condition in ("clear sky", "mostly clear", "partly cloudy")
    if pleasant and weather.gust_kmh < WINDY_KMH:
        return frozenset({"good"})
    rough = weather.condition in ("heavy rain", "rain", "thunderstorm", "sleet", "heavy snow")
    if rough or weather.gust_kmh >= GUSTY_KMH or weather.feels_like_c >= 36 or weather.feels_like_c <= -8:
        return frozenset({"bad"})
    return frozenset()
