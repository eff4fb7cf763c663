"""Conditions of the tool's results as noun phrases that fit any sentence."""

from __future__ import annotations

import re
from random import Random

_WORDS = {
    "clear sky": ("clear skies", "a clear sky", "cloudless skies", "an open sky"),
    "mostly clear": ("mostly clear skies", "a mostly clear sky", "largely clear skies", "a nearly clear sky"),
    "partly cloudy": (
        "scattered clouds", "a partly cloudy sky", "partly cloudy skies", "passing clouds",
    ),
    "overcast": ("overcast skies", "an overcast sky", "full cloud cover", "a sky full of cloud"),
    "fog": ("fog", "a blanket of fog"),
    "drizzle": ("drizzle", "a light drizzle", "a fine drizzle"),
    "light rain": ("light rain", "some light rain"),
    "rain": ("rain", "steady rain"),
    "heavy rain": ("heavy rain", "pouring rain", "hard rain"),
    "thunderstorm": ("a thunderstorm", "thunder and lightning", "thunder and rain"),
    "light snow": ("light snow", "a light snowfall", "some light snow"),
    "snow": ("snow", "falling snow"),
    "heavy snow": ("heavy snow", "a heavy snowfall", "thick snow"),
    "sleet": ("sleet", "cold sleet", "a mix of rain and snow", "wet sleet"),
}  # fmt: skip
_FORECAST = {
    "fog": ("fog",),
    "thunderstorm": ("a thunderstorm", "thunder and rain", "a spell of thunder"),
    "snow": ("snow", "some snow"),
    "rain": ("rain", "some rain"),
}


# A verb in the third person singular after the sky wants a singular sky.
_SINGULAR_VERB = re.compile(r"\{sky\},? (?:\w+ly |all |now )?(?!its |his |this |as |thus )\w+s\b")
_PLURAL = re.compile(r"skies|clouds$|thunder and")


def sky_words(condition: str) -> tuple[str, ...]:
    """Noun phrases for a present condition, such as ``light rain``."""
    return _WORDS[condition]


def forecast_words(condition: str) -> tuple[str, ...]:
    """The same for a day to come."""
    return _FORECAST.get(condition, _WORDS[condition])


def put_sky(rng: Random, clause: str, words: tuple[str, ...]) -> str:
    """Put one of the phrases for ``{sky}``, one that agrees with the verb after it."""
    if _SINGULAR_VERB.search(clause):
        words = tuple(word for word in words if not _PLURAL.search(word))
    return clause.replace("{sky}", rng.choice(words))
