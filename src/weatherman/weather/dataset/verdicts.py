"""Yes or no to what a user wants to do in the weather, and why; and whether the weather can hurt."""

from __future__ import annotations

from weatherman.weather.dataset.climate import CLEAR, FALLING, SEVERE, SNOW, Weather
from weatherman.weather.dataset.situation import Situation

DANGERS = ("storm", "heat", "cold", "snow", "wind", "fog")
_HEAT_C, _HEAT_FELT_C, _COLD_FELT_C, _GUST_KMH = 37.0, 38.0, -18.0, 75
_JACKET_C, _ICE_C, _WARM_C = 16, 1, 27
INTENTS = ("umbrella", "jacket", "laundry", "run", "bike", "drive", "picnic", "windows", "stars", "kite", "nice")
_ROUGH = {*SEVERE, "sleet"}


def verdict_of(intent: str, weather: Weather, tags: Situation) -> tuple[str, str]:
    """The tag of the shared verdict bank, and the tag of the reason.

    Returns:
        Such as ``("laundry-no", "damp")``; two empty strings where the question wants no verdict, an empty reason where
        none needs to be told.
    """
    if intent not in INTENTS:
        return "", ""
    if intent == "umbrella":
        return _umbrella(weather), ""
    if intent == "jacket":
        return _jacket(weather), ""
    if intent == "windows" and weather.condition == "thunderstorm":
        return "windows-storm", ""
    if against := _OBJECTIONS[intent](weather, tags):
        return f"{intent}-no", against
    caution = _CAUTIONS[intent](weather) if intent in _CAUTIONS else ""
    return f"{intent}-{caution or 'yes'}", ""


def _umbrella(weather: Weather) -> str:
    """An umbrella is no help against lightning, gusts or snow."""
    if weather.condition not in FALLING:
        return "umbrella-no"
    kind = "storm" if weather.condition == "thunderstorm" else "snow" if weather.condition in SNOW else ""
    return f"umbrella-{kind or _first(gusts=weather.gust_kmh >= 65, breezy=weather.gust_kmh >= 40) or 'yes'}"


def _jacket(weather: Weather) -> str:
    """In warm rain a jacket is for the wet alone."""
    if weather.feels_like_c < _JACKET_C:
        return "jacket-yes"
    return "jacket-wet" if weather.condition in FALLING else "jacket-no"


def _first(**reasons: bool) -> str:
    """The first reason that holds; empty if none."""
    return next((name for name, holds in reasons.items() if holds), "")


def _sky(weather: Weather) -> dict[str, bool]:
    """What comes from above, and fog."""
    return {
        "storm": weather.condition == "thunderstorm",
        "rain": weather.condition in FALLING - SNOW,
        "snow": weather.condition in SNOW,
        "fog": weather.condition == "fog",
    }


def _rough(weather: Weather) -> dict[str, bool]:
    """Only what is hard to bear of it."""
    rough = weather.condition in _ROUGH
    return {name: holds and rough for name, holds in _sky(weather).items()}


_OBJECTIONS = {
    "laundry": lambda w, _: _first(
        **_sky(w), damp=w.humidity_pct >= 85, cold=w.feels_like_c <= 4, gusts=w.gust_kmh >= 60
    ),
    "run": lambda w, _: _first(
        **_rough(w), heat=w.feels_like_c >= 32, cold=w.feels_like_c <= -12, gusts=w.gust_kmh >= 60
    ),
    "bike": lambda w, _: _first(
        **{**_rough(w), "snow": w.condition in SNOW, "fog": w.condition == "fog"},
        gusts=w.gust_kmh >= 45, heat=w.feels_like_c >= 34, cold=w.feels_like_c <= -8,
    ),
    "drive": lambda w, _: _first(
        **{**_rough(w), "snow": w.condition in SNOW, "fog": w.condition == "fog"},
        gusts=w.gust_kmh >= 75,
    ),
    "picnic": lambda w, _: _first(
        **_sky(w), cold=w.feels_like_c <= 14, heat=w.feels_like_c >= 32, gusts=w.gust_kmh >= 40
    ),
    "windows": lambda w, _: _first(
        **_sky(w), cold=w.feels_like_c <= 12, heat=w.feels_like_c >= 31, gusts=w.gust_kmh >= 45
    ),
    "stars": lambda w, tags: _first(
        cloud=w.condition not in CLEAR, light="night" not in tags.times
    ),
    "kite": lambda w, _: _first(**_sky(w), still=w.wind_kmh <= 11, strong=w.wind_kmh >= 39 or w.gust_kmh >= 55),
    "nice": lambda w, _: _first(
        **_sky(w), cold=w.feels_like_c <= 10, heat=w.feels_like_c >= 32, gusts=w.gust_kmh >= 50
    ),
}  # fmt: skip


def _slick(weather: Weather) -> str:
    """What a wheel has to mind."""
    return _first(ice=weather.temperature_c <= _ICE_C, wet=weather.condition in FALLING)


_CAUTIONS = {
    "bike": _slick,
    "drive": _slick,
    "run": lambda w: _first(
        wet=w.condition in FALLING, warm=w.feels_like_c >= _WARM_C, slippery=w.temperature_c <= _ICE_C
    ),
}


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
