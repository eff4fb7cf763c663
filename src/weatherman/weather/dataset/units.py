"""How quantities are written in an answer: metric, imperial or nautical, whole or to one decimal."""

from __future__ import annotations

import math
from dataclasses import dataclass

_WINDS = {"km/h": 1.0, "mph": 0.621371, "m/s": 1 / 3.6, "knots": 1 / 1.852}
_NAMES = ("north", "east", "south", "west")
_LETTERS = dict(zip("NESW", _NAMES, strict=True))


def round_half_up(value: float, decimals: int = 0) -> float:
    """Round as people do, halves away from zero: 20.5 to 21, where Python's `round` says 20."""
    scale = 10**decimals
    return math.copysign(math.floor(abs(value) * scale + 0.5 + 1e-9) / scale, value)


def to_fahrenheit(celsius: float) -> float:
    """°C to °F."""
    return celsius * 9 / 5 + 32


@dataclass(frozen=True, slots=True)
class Units:
    """A way of writing quantities.

    Attributes:
        temperature: "°C" or "°F".
        wind: "km/h", "mph", "m/s" or "knots".
        decimals: of temperatures, 0 or 1.
    """

    temperature: str = "°C"
    wind: str = "km/h"
    decimals: int = 0

    def degrees(self, celsius: float) -> float:
        """The number that is written for a temperature."""
        value = to_fahrenheit(celsius) if self.temperature == "°F" else celsius
        return round_half_up(value, self.decimals) + 0.0  # no negative zero

    def temp(self, celsius: float) -> str:
        """``14 °C``."""
        return f"{self._number(self.degrees(celsius))} {self.temperature}"

    def difference(self, first_c: float, second_c: float) -> str:
        """``6 degrees``: the distance of the two numbers as they are written."""
        value = round(abs(self.degrees(first_c) - self.degrees(second_c)), self.decimals)
        return f"{self._number(value)} degree{'' if value == 1 else 's'}"

    def speed(self, kmh: float) -> str:
        """``18 km/h``."""
        return f"{round_half_up(kmh * _WINDS[self.wind]):.0f} {self.wind}"

    def _number(self, value: float) -> str:
        return f"{value:.0f}" if self.decimals == 0 or value == int(value) else f"{value:.1f}"


def direction(letters: str) -> str:
    """``NNW`` as ``the north-northwest``."""
    words = [_LETTERS[letter] for letter in letters]
    if len(words) == 3:
        return f"the {words[0]}-{words[1]}{words[2]}"
    return "the " + "".join(words)
