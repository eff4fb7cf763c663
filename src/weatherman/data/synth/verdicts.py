"""Yes or no to what a user wants to do in the weather, and whether it can hurt."""

from __future__ import annotations

from weatherman.data.synth.climate import FALLING, SNOWY, Weather
from weatherman.data.synth.situation import Situation

DANGERS = ("storm", "heat", "cold", "snow", "wind", "fog")
_HEAT_C, _HEAT_FELT_C, _COLD_FELT_C, _GUST_KMH = 37.0, 38.0, -18.0, 75
INTENTS = ("umbrella", "jacket", "laundry", "run", "bike", "drive", "picnic", "windows", "stars", "kite")


def verdict_tag(intent: str, weather: Weather, tags: Situation) -> str:
    """The tag of the shared verdict bank, e.g. ``laundry-no``; empty where the question wants no verdict."""
    if intent not in INTENTS:
        return ""
    return f"{intent}-{'yes' if _allowed(intent, weather, tags) else 'no'}"


def _allowed(intent: str, weather: Weather, tags: Situation) -> bool:
    wet, feels, gust = weather.condition in FALLING, weather.feels_like_c, weather.gust_kmh
    rough = weather.condition in ("thunderstorm", "heavy rain", "heavy snow", "sleet")
    rules = {
        "umbrella": wet and weather.condition not in SNOWY and gust < 65,
        "jacket": feels < 15 or (wet and feels < 22),
        "laundry": not wet and weather.condition != "fog" and weather.humidity_pct < 85 and feels > 4 and gust < 60,
        "run": not rough and -12 < feels < 32 and gust < 60,
        "bike": not rough and gust < 45 and not weather.condition.endswith("snow") and -8 < feels < 34,
        "drive": not rough and weather.condition not in ("fog", "snow") and gust < 75,
        "picnic": not wet and weather.condition != "fog" and 14 < feels < 32 and gust < 40,
        "windows": not wet and weather.condition != "fog" and 15 < feels < 28 and gust < 45,
        "stars": weather.condition in ("clear sky", "mostly clear") and "night" in tags.times,
        "kite": not wet and 11 < weather.wind_kmh < 39 and gust < 55,
    }
    return rules[intent]


def danger_of(weather: Weather) -> str:
    """Which danger there is; empty if none."""
    rules = {
        "storm": weather.condition == "thunderstorm",
        "heat": weather.temperature_c >= _HEAT_C or weather.feels_like_c >= _HEAT_FELT_C,
        "cold": weather.feels_like_c <= _COLD_FELT_C,
        "snow": weather.condition == "heavy snow",
        "wind": weather.gust_kmh >= _GUST_KMH,
        "fog": weather.condition == "fog",
    }
    return next((danger for danger in DANGERS if rules[danger]), "")
