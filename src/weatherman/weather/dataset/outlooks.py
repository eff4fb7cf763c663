"""What several days bring, as plain clauses from the shared bank: the wet days, the range, the extremes, the best."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import date

from weatherman.weather.dataset.climate import CLEAR, COMFORT_C, FALLING, SEVERE, Day
from weatherman.weather.dataset.day_names import day_name, listed, on_day, on_days, what_falls
from weatherman.weather.dataset.situation import Situation
from weatherman.weather.dataset.skies import forecast_words
from weatherman.weather.dataset.speech import Speaker
from weatherman.weather.dataset.units import Units

_LIKELY_PCT, _UNLIKELY_PCT = 50, 25
_MAX_NAMED = 4
_MOST = 2 / 3
_VOICED = 0.6  # of the ranges that each persona tells in words of its own
_CLOUDED = ("overcast", "fog")
_DEGREE_COSTS_PCT, _CLOUD_COSTS_PCT = 2, 10
_COLD_HIGH_C, _HOT_HIGH_C, _RAW_HIGH_C, _MILD_HIGH_C, _SUNNY_HIGH_C = 8, 33, 12, 18, 26


def wetness(day: Day) -> str:
    """``wet``, ``dry`` or ``unsure``: whether something probably falls."""
    if day.rain_chance_pct >= _LIKELY_PCT:
        return "wet"
    return "dry" if day.rain_chance_pct <= _UNLIKELY_PCT else "unsure"


@dataclass(frozen=True, slots=True)
class Span:
    """Some days of a forecast, and how they are spoken of.

    Attributes:
        days: the days that were asked about, in order.
        start: the first day of the forecast, called today.
        words: the days in words, e.g. ``the next 5 days``.
    """

    days: Sequence[Day]
    start: date
    words: str

    @property
    def dated(self) -> bool:
        """Whether a weekday alone would be ambiguous."""
        return (self.days[-1].date - self.start).days >= 7

    @property
    def wet(self) -> list[Day]:
        """The days on which something probably falls."""
        return [day for day in self.days if wetness(day) == "wet"]

    @property
    def dry(self) -> list[Day]:
        """The days on which probably nothing falls."""
        return [day for day in self.days if wetness(day) == "dry"]

    def name(self, day: Day) -> str:
        """A day's name."""
        return day_name(day, self.start, dated=self.dated)

    def on(self, days: Sequence[Day]) -> str:
        """``today and on Friday``."""
        return on_days(days, self.start, dated=self.dated)

    @property
    def mood(self) -> str:
        """How these days are, for a remark about them: a tag of the bank of forecast ends."""
        wet = self.wet
        if any(day.condition == "thunderstorm" for day in wet):
            return "storm"
        if wet and what_falls(self.days) == "snow":
            return "snow"
        if 2 * len(wet) > len(self.days):
            return "wet"
        if wet:
            return "mixed"
        highs = [day.high_c for day in self.days]
        if min(highs) >= _HOT_HIGH_C:
            return "hot"
        if max(highs) <= 0:
            return "cold"
        return "dry" if len(self.dry) == len(self.days) else "mixed"


def _chance(day: Day) -> str:
    return f"{day.rain_chance_pct} %"


def _dryness(wettest: Day) -> str:
    """Of days none of which looks wet: nothing at all, hardly anything, or perhaps something."""
    if wettest.rain_chance_pct == 0:
        return "zero"
    return "none" if wetness(wettest) == "dry" else "perhaps"


def falling_clause(speaker: Speaker, span: Span) -> str:
    """On which days something probably falls, all of them; or that none looks wet."""
    wet, num_days = span.wet, len(span.days)
    wettest = max(span.days, key=lambda day: day.rain_chance_pct)
    if not wet:
        tag = _dryness(wettest)
    elif len(wet) == 1:
        tag = "one"
    elif len(wet) == num_days:
        tag = "both" if num_days == 2 else "all"
    else:
        tag = "most" if num_days - len(wet) == 1 else "some"
    values = {"what": what_falls(span.days), "chance": _chance(wettest), "on": span.on(wet or [wettest])}
    return speaker.plainly("outlook", f"fall-{tag}", **values)


def dry_sky(days: Sequence[Day]) -> str:
    """``clear``, ``gray`` or ``fair`` (some of both): the sky of dry days."""
    num_clear = sum(day.condition in CLEAR for day in days)
    num_gray = sum(day.condition in _CLOUDED for day in days)
    most = _MOST * len(days)
    if num_clear >= most and not num_gray:
        return "clear"
    return "gray" if num_gray >= most and not num_clear else "fair"


def sky_clause(speaker: Speaker, span: Span) -> str:
    """Whether the days without rain are clear or cloudy; empty if all are wet."""
    dry = [day for day in span.days if day not in span.wet]
    if not dry:
        return ""
    return speaker.plainly("outlook", f"{'sky' if span.wet else 'all'}-{dry_sky(dry)}")


def severe_clause(speaker: Speaker, span: Span) -> str:
    """When thunder is due, or what is heavier than the rest; empty if nothing is."""
    for condition in SEVERE:
        found = [day for day in span.wet if day.condition == condition]
        if found and (condition == "thunderstorm" or len(found) < len(span.wet)):
            sky = speaker.rng.choice(forecast_words(condition))
            return speaker.plainly("outlook", "severe", sky=sky, on=span.on(found))
    return ""


def range_clause(speaker: Speaker, span: Span, units: Units) -> str:
    """Between which values the highs and the lows lie."""
    highs, lows = sorted(day.high_c for day in span.days), sorted(day.low_c for day in span.days)
    values = {"top": units.temp(highs[-1]), "high": units.temp(highs[0]), "low": units.temp(lows[0])}
    if values["top"] == values["high"]:
        return speaker.plainly("outlook", "range-even", **values)
    return speaker.say("range", **values) if speaker.chance(_VOICED) else speaker.plainly("outlook", "range", **values)


_MEASURES: dict[str, Callable[[Day], int]] = {
    "warmest": lambda day: day.high_c,
    "coldest": lambda day: -day.low_c,
    "wettest": lambda day: day.rain_chance_pct,
}


def extreme_clause(speaker: Speaker, tag: str, span: Span, units: Units) -> str:
    """The warmest, coldest or wettest of several days, all of them if they share it."""
    measure = _MEASURES[tag]
    most = max(map(measure, span.days))
    found = [day for day in span.days if measure(day) == most]
    first, names = found[0], [span.name(day) for day in found]
    values = {
        "high": units.temp(first.high_c), "low": units.temp(first.low_c), "chance": _chance(first),
        "what": what_falls(found), "day": names[0], "on": on_day(names[0]), "days": listed(names),
    }  # fmt: skip
    if tag == "wettest" and wetness(first) == "dry":
        tag = "fall-zero" if first.rain_chance_pct == 0 else "wettest-low"
        return speaker.plainly("outlook", tag, **values | {"on": span.on(found)})
    if len(found) == 1:
        return speaker.say("extreme", Situation(frozenset({tag})), **values)
    return speaker.plainly("outlook", f"{tag}-tie", **values)


def rain_verdict(speaker: Speaker, span: Span) -> str:
    """Whether it will rain on some of several days."""
    wettest = max(span.days, key=lambda day: day.rain_chance_pct)
    if not span.wet:
        tag = _dryness(wettest)
    elif what_falls(span.days) == "snow":
        tag = "snow"
    else:
        tag = "once" if len(span.wet) == 1 else "yes"
    return speaker.plainly(
        "outlook", f"rain-{tag}", what=what_falls(span.days), on=span.on(span.wet or [wettest]), chance=_chance(wettest)
    )


def dry_verdict(speaker: Speaker, span: Span) -> str:
    """Whether there is a dry day among several, and which."""
    dry = span.dry
    if not dry:
        driest = min(span.days, key=lambda day: day.rain_chance_pct)
        return speaker.plainly("outlook", "dryday-none", on=on_day(span.name(driest)), chance=_chance(driest))
    if len(dry) == len(span.days):
        return speaker.plainly("outlook", "dryday-all", chance=_chance(max(dry, key=lambda day: day.rain_chance_pct)))
    names = listed([span.name(day) for day in dry[:_MAX_NAMED]])
    tag = "one" if len(dry) == 1 else "some" if len(dry) <= _MAX_NAMED else "many"
    return speaker.plainly("outlook", f"dryday-{tag}", days=names, on=span.on(dry))


def _drawbacks(day: Day) -> float:
    """What speaks against a day, in per cent of rain: rain itself, distance from comfort, a gray sky."""
    gray = _CLOUD_COSTS_PCT if day.condition in _CLOUDED else 0
    return day.rain_chance_pct + _DEGREE_COSTS_PCT * abs(day.high_c - COMFORT_C) + gray


def best_verdict(speaker: Speaker, span: Span, units: Units) -> str:
    """Which day is best: dry, comfortable and bright."""
    day = min(span.days, key=_drawbacks)
    sky = speaker.rng.choice(forecast_words(day.condition))
    values = {"high": units.temp(day.high_c), "chance": _chance(day), "what": what_falls([day]), "sky": sky}
    return speaker.plainly("outlook", "best", day=span.name(day), **values)


def packing_verdict(speaker: Speaker, span: Span) -> str:
    """What to bring."""
    things = []
    what = what_falls(span.days)
    if span.wet:
        things.append("boots for snow" if what == "snow" else "waterproofs" if "snow" in what else "an umbrella")
    highs = [day.high_c for day in span.days]
    if max(highs) < _RAW_HIGH_C:
        things.append("a warm coat")
    elif min(day.low_c for day in span.days) < _RAW_HIGH_C or max(highs) < _MILD_HIGH_C:
        things.append("a jacket")
    if max(highs) >= _SUNNY_HIGH_C:
        things += ["light clothes", "sunscreen"]
    return speaker.plainly("outlook", "pack", things=listed(things or ["light layers"]))


def outside_verdict(speaker: Speaker, day: Day, name: str, units: Units) -> str:
    """Whether a day is good for something outdoors."""
    values = {"day": name, "on": on_day(name), "chance": _chance(day), "what": what_falls([day])}
    if wetness(day) == "wet" or day.condition in FALLING:
        tag = "outside-wet"
    elif day.high_c < _COLD_HIGH_C or day.high_c >= _HOT_HIGH_C:
        tag = "outside-cold" if day.high_c < _COLD_HIGH_C else "outside-hot"
    else:
        tag = "outside-yes" if wetness(day) == "dry" else "outside-perhaps"
    return speaker.plainly("outlook", tag, high=units.temp(day.high_c), **values)
