"""Answers about several places: the comparison first, then each."""

from __future__ import annotations

from weatherman.weather.dataset.answers_now import Now, decisive_report, safety_sentence
from weatherman.weather.dataset.climate import COMFORT_C, FALLING, SEVERE
from weatherman.weather.dataset.satire import dateline, newsroom
from weatherman.weather.dataset.speech import Speaker, join, sentence
from weatherman.weather.dataset.units import Units

_PLAIN = ("warmer", "colder")
_COOL_C, _WARM_C = 17, 26
_WET_COSTS, _GUST_KMH, _BETTER_BY = 12.0, 60, 3.0


def difference_clause(speaker: Speaker, first: Now, second: Now, units: Units, plainly: str = "") -> str:
    """Which of two places is warmer, and by how much, as the numbers are written; in plain words where it was asked."""
    one, other = units.degrees(first.weather.temperature_c), units.degrees(second.weather.temperature_c)
    names = {"a": first.city.name, "b": second.city.name}
    if one == other:
        names["temp"] = units.temp(first.weather.temperature_c)
        return speaker.plainly("compare", "even", **names) if plainly else speaker.say("compare_even", **names)
    warm, cool = (first, second) if one > other else (second, first)
    gap = units.difference(first.weather.temperature_c, second.weather.temperature_c)
    names = {"a": warm.city.name, "b": cool.city.name, "diff": gap}
    return speaker.plainly("compare", plainly, **names) if plainly else speaker.say("compare", **names)


def discomfort(now: Now) -> float:
    """How far a place is from pleasant, in degrees: felt temperature, rain and gusts."""
    weather = now.weather
    wet = 2 if weather.condition in SEVERE else weather.condition in FALLING
    gusts = max(0.0, (weather.gust_kmh - _GUST_KMH) / 4)
    return abs(weather.feels_like_c - COMFORT_C) + _WET_COSTS * wet + gusts


def nicer_clause(speaker: Speaker, first: Now, second: Now) -> str:
    """Which of two places has the better weather, if any."""
    better, worse = sorted((first, second), key=discomfort)
    names = {"a": better.city.name, "b": worse.city.name}
    if discomfort(worse) - discomfort(better) >= _BETTER_BY:
        return f"{speaker.plainly('compare', 'nicer', **names)}, {_why_nicer(speaker, better, worse)}"
    cool, warm = sorted((first, second), key=lambda now: now.weather.feels_like_c)
    if cool.weather.feels_like_c < _COOL_C and warm.weather.feels_like_c > _WARM_C:
        return speaker.plainly("compare", "nicer-split", a=cool.city.name, b=warm.city.name)
    return speaker.plainly("compare", "nicer-even", **names)


def _why_nicer(speaker: Speaker, better: Now, worse: Now) -> str:
    """What decides between two places: rain, then gusts, then warmth."""
    good, bad = better.weather, worse.weather
    if bad.condition in FALLING and good.condition not in FALLING:
        tag = "dry"
    elif bad.gust_kmh > _GUST_KMH >= good.gust_kmh:
        tag = "calm"
    elif bad.feels_like_c < _COOL_C and good.feels_like_c > bad.feels_like_c:
        tag = "warmer"
    else:
        tag = "cooler" if bad.feels_like_c > _WARM_C and good.feels_like_c < bad.feels_like_c else "gentler"
    return speaker.plainly("compare", f"because-{tag}", a=better.city.name, b=worse.city.name)


def compare_answer(speaker: Speaker, first: Now, second: Now, wish: str, units: Units) -> str:
    """The comparison that was asked for ("warmer", "colder", "nicer", "general"), both reports, and what may hurt."""
    difference = sentence(difference_clause(speaker, first, second, units, wish if wish in _PLAIN else ""))
    reports = [decisive_report(speaker, now, units) for now in (first, second)]
    if wish in _PLAIN:
        sentences = [difference, *reports]
    elif wish == "nicer":
        sentences = [sentence(nicer_clause(speaker, first, second)), *reports]
    else:
        sentences = [*reports, difference]
    end = _warning(speaker, first, second) or newsroom(speaker, first.situation)
    return dateline(speaker, first.city, join(*sentences, end))


def several_answer(speaker: Speaker, found: list[Now], wish: str, units: Units) -> str:
    """Several places, and which is warmest."""
    ranked = sorted(found, key=lambda now: -units.degrees(now.weather.temperature_c))
    warmest = ranked[0]
    if wish == "warmest":
        temp = units.temp(warmest.weather.temperature_c)
        summary = sentence(speaker.plainly("compare", "warmest", a=warmest.city.name, temp=temp))
    else:
        summary = sentence(difference_clause(speaker, warmest, ranked[-1], units))
    reports = [decisive_report(speaker, now, units) for now in found]
    told = [summary, *reports] if wish == "warmest" else [*reports, summary]
    return dateline(speaker, found[0].city, join(*told, _warning(speaker, *found)))


def _warning(speaker: Speaker, *found: Now) -> str:
    """Safety advice for the first place where the weather can hurt."""
    return next((said for now in found if (said := safety_sentence(speaker, now, named=True))), "")
