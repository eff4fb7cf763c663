"""A small weather model: plausible, internally consistent weather for a place, a day of the year and an hour.

Not a climatology. It knows latitude, season, hour, a few large regions (oceanic, continental, dry, high, monsoon), and
it keeps its quantities consistent: dew point from humidity (Magnus), wind chill and heat index by the formulas of the
North American weather services, rain only from clouds, fog only in calm damp air.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from datetime import date, datetime, timedelta
from random import Random

from weatherman.weather.dataset.gazetteer import City

DIRECTIONS = ("N", "NNE", "NE", "ENE", "E", "ESE", "SE", "SSE", "S", "SSW", "SW", "WSW", "W", "WNW", "NW", "NNW")
FALLING = {
    "drizzle", "light rain", "rain", "heavy rain", "thunderstorm", "light snow", "snow", "heavy snow", "sleet",
}  # fmt: skip
SNOW = {"light snow", "snow", "heavy snow"}
SNOWY = SNOW | {"sleet"}
SEVERE = ("thunderstorm", "heavy snow", "heavy rain")
CLEAR = ("clear sky", "mostly clear")
COMFORT_C = 21  # felt in the shade, by people who are dressed for it


@dataclass(frozen=True, slots=True)
class Region:
    """A box on the map and how its climate differs from its latitude's."""

    south: float
    north: float
    west: float
    east: float
    warmer_c: float
    swing: float
    wetness: float


# The first box that holds a place counts.
_REGIONS = (
    Region(63, 67, -25, -13, 4, 0.55, 1.4),  # Iceland
    Region(49, 60, -11, 2, 1.5, 0.55, 1.4),  # British Isles
    Region(57, 71, 4, 20, 5, 0.8, 1.2),  # Scandinavia
    Region(44, 57, -5, 16, 1.5, 0.8, 1.1),  # Western and Central Europe
    Region(36, 44, -10, 28, 0.5, 0.85, 0.7),  # Mediterranean
    Region(36, 42, 28, 46, -4, 1.15, 0.7),  # Anatolia
    Region(44, 60, 16, 60, 0, 1.25, 1.0),  # Eastern Europe
    Region(47, 75, 60, 150, -3, 1.75, 0.8),  # Siberia, Mongolia
    Region(35, 47, 55, 105, -3, 1.5, 0.4),  # Inner Asia
    Region(27, 35, 78, 103, -12, 1.1, 0.5),  # Tibet
    Region(22, 29, 97, 106, -5, 0.8, 1.0),  # Yunnan
    Region(28, 47, 105, 135, -2, 1.5, 0.9),  # Northern China, Korea
    Region(30, 46, 135, 146, 0, 1.05, 1.3),  # Japan
    Region(12, 35, 34, 60, 3, 1.2, 0.12),  # Arabia, Mesopotamia
    Region(14, 34, -17, 34, 2, 1.2, 0.15),  # Sahara
    Region(5, 15, 36, 44, -8, 0.8, 1.0),  # Ethiopian highlands
    Region(-5, 2, 28, 38, -5, 0.8, 1.0),  # East African highlands
    Region(-30, -14, 20, 33, -3, 1.0, 0.6),  # Southern African plateau
    Region(17, 23, -105, -97, -8, 0.9, 0.8),  # Mexican plateau
    Region(1, 8, -78, -72, -8, 0.6, 1.3),  # Colombian Andes
    Region(-19, -13, -73, -65, -13, 1.0, 0.5),  # Altiplano
    Region(-4, 1, -79.5, -77, -10, 0.5, 1.2),  # Ecuadorian Andes
    Region(36, 50, -114, -102, -3, 1.35, 0.5),  # Rocky Mountains, Great Plains
    Region(32, 50, -125, -114, 0, 0.6, 0.8),  # North American west coast
    Region(30, 50, -102, -60, 0, 1.35, 1.0),  # North American interior and east
    Region(50, 70, -140, -55, -1, 1.5, 0.8),  # Canada's north
    Region(-35, -20, 120, 145, 2, 1.0, 0.3),  # Australian interior
    Region(5, 25, 70, 110, 1, 0.7, 1.1),  # South and South-East Asia
)
_ELSEWHERE = Region(-90, 90, -180, 180, 0, 1, 1)


@dataclass(frozen=True, slots=True)
class Weather:
    """The weather at one moment; local time, metric units."""

    observed_at: datetime
    temperature_c: float
    feels_like_c: float
    humidity_pct: int
    dew_point_c: float
    wind_kmh: int
    gust_kmh: int
    wind_dir: str
    cloud_pct: int
    precipitation_mm: float
    condition: str


@dataclass(frozen=True, slots=True)
class Day:
    """The forecast of one day, in whole degrees as forecasts are given."""

    date: date
    high_c: int
    low_c: int
    rain_chance_pct: int
    wind_kmh: int
    condition: str


def _region(city: City) -> Region:
    for region in _REGIONS:
        if region.south <= city.latitude <= region.north and region.west <= city.longitude <= region.east:
            return region
    return _ELSEWHERE


def _day_mean_c(city: City, region: Region, day: date) -> float:
    latitude = city.latitude
    yearly = 27.0 - 0.0075 * latitude**2 + region.warmer_c
    amplitude = min(14.0, 1.0 + 0.2 * abs(latitude)) * region.swing
    coldest = 20 if latitude >= 0 else 202
    return yearly - amplitude * math.cos(2 * math.pi * (day.timetuple().tm_yday - coldest) / 365.25)


def _wet_chance(city: City, region: Region, day: date) -> float:
    """Chance that it rains or snows at a moment: more in the tropics' summer, less under the subtropical highs."""
    latitude = abs(city.latitude)
    base = 0.3 if latitude < 12 else 0.2 if latitude < 35 else 0.3
    if latitude < 28:
        summer = math.cos(2 * math.pi * (day.timetuple().tm_yday - (200 if city.latitude >= 0 else 18)) / 365.25)
        base *= 1 + 0.7 * summer
    return min(0.75, base * region.wetness)


def _spread_c(city: City) -> float:
    return 0.9 + min(2.5, abs(city.latitude) / 18)


def dew_point_c(temperature_c: float, humidity_pct: float) -> float:
    """Dew point by the Magnus formula (constants of Alduchov and Eskridge, 1996)."""
    gamma = math.log(humidity_pct / 100) + 17.625 * temperature_c / (243.04 + temperature_c)
    return 243.04 * gamma / (17.625 - gamma)


def feels_like_c(temperature_c: float, humidity_pct: float, wind_kmh: float) -> float:
    """Wind chill (Environment Canada, 2001) in the cold, heat index (Rothfusz, 1990) in the heat, else as it is."""
    if temperature_c <= 10 and wind_kmh > 4.8:
        factor = wind_kmh**0.16
        return 13.12 + 0.6215 * temperature_c - 11.37 * factor + 0.3965 * temperature_c * factor
    if temperature_c < 27 or humidity_pct < 40:
        return temperature_c
    t, h = temperature_c * 9 / 5 + 32, humidity_pct
    index_f = (
        -42.379 + 2.04901523 * t + 10.14333127 * h - 0.22475541 * t * h - 6.83783e-3 * t * t - 5.481717e-2 * h * h
        + 1.22874e-3 * t * t * h + 8.5282e-4 * t * h * h - 1.99e-6 * t * t * h * h
    )  # fmt: skip
    return max(temperature_c, (index_f - 32) * 5 / 9)


def _condition(rng: Random, temperature_c: float, wet_chance: float) -> str:
    if rng.random() >= wet_chance:
        return rng.choices(("clear sky", "mostly clear", "partly cloudy", "overcast"), (36, 20, 20, 24))[0]
    if temperature_c < 0.5:
        return rng.choices(("light snow", "snow", "heavy snow"), (45, 40, 15))[0]
    if temperature_c < 2.5:
        return rng.choices(("sleet", "light rain", "light snow"), (40, 35, 25))[0]
    if temperature_c > 14 and rng.random() < 0.18:
        return "thunderstorm"
    return rng.choices(("drizzle", "light rain", "rain", "heavy rain"), (18, 37, 31, 14))[0]


def _clouds_pct(rng: Random, condition: str) -> int:
    low, high = {"clear sky": (0, 8), "mostly clear": (9, 28), "partly cloudy": (30, 62)}.get(condition, (85, 100))
    return rng.randint(low, high)


_RAIN_MM = {
    "drizzle": (0.1, 0.5), "light rain": (0.4, 2.2), "rain": (2.3, 6.5), "heavy rain": (7.0, 18.0),
    "thunderstorm": (4.0, 22.0), "light snow": (0.2, 0.9), "snow": (1.0, 2.8), "heavy snow": (3.0, 6.5),
    "sleet": (0.5, 2.5),
}  # fmt: skip


def current_weather(rng: Random, city: City, moment: datetime) -> Weather:
    """The weather of a place at a local time.

    Args:
        rng: the conversation's generator.
        city: the place.
        moment: local time.
    """
    region = _region(city)
    wet = _wet_chance(city, region, moment.date())
    swing = rng.uniform(3.0, 5.5) * (1.25 if region.wetness < 0.5 else 1.0)
    hour_angle = 2 * math.pi * (moment.hour + moment.minute / 60 - 15) / 24
    temperature = (
        _day_mean_c(city, region, moment.date()) + rng.gauss(0, _spread_c(city)) + swing * math.cos(hour_angle)
    )
    condition = _condition(rng, temperature, wet)
    foggy_hour = moment.hour < 10 or moment.hour > 20
    if condition == "overcast" and foggy_hour and temperature < 22 and rng.random() < 0.4:
        condition = "fog"
    if condition in FALLING and temperature > 22:  # rain cools the air
        temperature = min(22 + 0.6 * (temperature - 22), 29.5)
    temperature = round(max(-42.0, min(45.5, temperature)), 1) + 0.0  # no negative zero
    wind = round(min(70, rng.lognormvariate(2.55, 0.55)))
    if condition == "thunderstorm":
        wind += rng.randint(10, 28)
    if condition == "fog":
        wind = rng.randint(1, 8)
    gust = round(wind * rng.uniform(1.3, 1.75)) + 2
    humidity = _humidity_pct(rng, condition, temperature, region)
    low, high = _RAIN_MM.get(condition, (0.0, 0.0))
    return Weather(
        moment, temperature, round(feels_like_c(temperature, humidity, wind), 1) + 0.0, humidity,
        round(dew_point_c(temperature, humidity), 1), wind, gust, rng.choice(DIRECTIONS), _clouds_pct(rng, condition),
        round(rng.uniform(low, high), 1), condition,
    )  # fmt: skip


def _humidity_pct(rng: Random, condition: str, temperature_c: float, region: Region) -> int:
    if condition == "fog":
        return rng.randint(95, 100)
    if condition in FALLING:
        return rng.randint(78, 97 if temperature_c < 25 else 88)
    mean = 62.0 if region.wetness > 0.5 else 34.0
    mean -= max(0.0, temperature_c - 24) * 1.6
    most = 96 if temperature_c < 26 else 84 if temperature_c < 30 else 66 if temperature_c < 35 else 42
    return round(max(26 if region.wetness > 0.5 else 9, min(most, rng.gauss(mean, 12))))


def forecast(rng: Random, city: City, start: date, num_days: int) -> list[Day]:
    """A forecast of `num_days` days from `start`, each day related to the one before."""
    region = _region(city)
    anomaly = rng.gauss(0, _spread_c(city))
    days = []
    for offset in range(num_days):
        day = start + timedelta(days=offset)
        wet = _wet_chance(city, region, day)
        mean = _day_mean_c(city, region, day) + anomaly
        spread = rng.uniform(2.5, 5.5) * (1.3 if region.wetness < 0.5 else 1.0)
        high, low = round(mean + spread), round(mean - spread)
        condition = _condition(rng, (high + mean) / 2, min(0.8, wet * 1.35))
        chance = rng.randint(55, 95) if condition in FALLING else rng.randint(0, 35 if condition != "clear sky" else 8)
        wind = round(min(70, rng.lognormvariate(2.7, 0.45))) + (12 if condition == "thunderstorm" else 0)
        days.append(Day(day, high, low, 5 * round(chance / 5), wind, condition))
        anomaly = 0.65 * anomaly + rng.gauss(0, 0.75 * _spread_c(city))
    return days


def spanning(day: Day, temperature_c: float) -> Day:
    """A day whose high and low hold a temperature that was measured in it."""
    high, low = max(day.high_c, math.ceil(temperature_c)), min(day.low_c, math.floor(temperature_c))
    return replace(day, high_c=high, low_c=low)
