"""Answers about the days to come: what was asked first, then every day that matters."""

from __future__ import annotations

import re

from weatherman.weather.dataset.climate import SEVERE, Day
from weatherman.weather.dataset.courses import MOST_RUNS, alike_runs, course_clauses, told_in_order
from weatherman.weather.dataset.day_names import what_falls
from weatherman.weather.dataset.gazetteer import City
from weatherman.weather.dataset.outlooks import (
    Span,
    best_verdict,
    dry_verdict,
    falling_clause,
    outside_verdict,
    packing_verdict,
    rain_verdict,
    range_clause,
    severe_clause,
    sky_clause,
    wetness,
)
from weatherman.weather.dataset.satire import dateline, statistic
from weatherman.weather.dataset.situation import ANYWHERE, Situation
from weatherman.weather.dataset.skies import forecast_words, put_sky
from weatherman.weather.dataset.speech import Speaker, join, sentence
from weatherman.weather.dataset.units import Units

_DANGEROUS_HIGH_C = 39
_FEW = 3  # so many days are often told one by one
_DAY_BY_DAY = 0.6
_VERDICTS_ON_DAYS = ("rain", "dry", "best")  # that name the days which matter
_REMARKS_AFTER_COURSE = 0.5
_LEVEL_OF = {"wet": "high", "unsure": "mid", "dry": "low"}
_EXTREME_OF = {"warm": "warmest", "cold": "coldest"}


def _tidy(text: str) -> str:
    """Prepositions that a weekday wants and "tomorrow" refuses."""
    return re.sub(r"\bon (today|tomorrow)\b", r"\1", text, flags=re.IGNORECASE)


def day_clause(speaker: Speaker, day: Day, name: str, units: Units) -> str:
    """High, low and sky of one day."""
    high, low = units.temp(day.high_c), units.temp(day.low_c)
    clause = speaker.say("forecast_day", day=name, high=high, low=low)
    return _tidy(put_sky(speaker.rng, clause, forecast_words(day.condition)))


def rain_clause(speaker: Speaker, day: Day, name: str) -> str:
    """The chance of rain or snow on one day."""
    level = Situation(frozenset({_LEVEL_OF[wetness(day)]}))
    clause = _tidy(speaker.say("forecast_rain", level, day=name, chance=f"{day.rain_chance_pct} %"))
    return clause.replace("rain or snow", what_falls([day]))


def forecast_end(speaker: Speaker, span: Span, units: Units, share: float = 1.0) -> str:
    """Advice against great heat; else a remark about the days ahead, or news; often nothing from a brief persona.

    Args:
        speaker: the persona.
        span: the days that the answer is about.
        units: how numbers are written.
        share: of the remarks that the persona would make, how many are made; safety is always told.
    """
    top = max(day.high_c for day in span.days)
    if top >= _DANGEROUS_HIGH_C:
        advice = speaker.plainly("safety", "heat-first")
        return sentence(speaker.plainly("outlook", "hot-days", high=units.temp(top), advice=advice))
    if span.mood != "storm" and not speaker.chance(share * speaker.manner.remarks):
        return ""
    if span.mood != "storm" and speaker.has("statistic") and speaker.chance(0.3):
        return statistic(speaker, ANYWHERE)
    return speaker.tell("forecast_end", Situation(frozenset({span.mood})))


def single_day_answer(speaker: Speaker, city: City, span: Span, wish: str, units: Units) -> str:
    """An answer about one day.

    Args:
        speaker: the persona.
        city: the place.
        span: one day.
        wish: what was asked: "general", "rain", "outside", "warm" or "cold".
        units: how numbers are written.
    """
    told = _day_verdict(speaker, city, span, wish, units)
    if not told:
        day = span.days[0]
        name = span.name(day)
        clause = _placed(speaker, day_clause(speaker, day, name, units), city)
        told = told_day(speaker, clause, rain_clause(speaker, day, name))
    return dateline(speaker, city, join(told, forecast_end(speaker, span, units)))


def _day_verdict(speaker: Speaker, city: City, span: Span, wish: str, units: Units) -> str:
    """What was asked about one day, and what else there is to say of it; empty if nothing special was asked."""
    day = span.days[0]
    name = span.name(day)
    value = {"high": units.temp(day.high_c), "low": units.temp(day.low_c)}
    if wish in _EXTREME_OF:
        tag = _EXTREME_OF[wish]
        rest = put_sky(speaker.rng, speaker.plainly("outlook", f"rest-{tag}", **value), forecast_words(day.condition))
        first = sentence(speaker.plainly("outlook", f"only-{tag}", day=name, **value))
        return join(first, told_day(speaker, rest, rain_clause(speaker, day, name)))
    if wish == "rain" and span.wet and day.condition not in SEVERE:
        verdict, more = rain_verdict(speaker, span), speaker.plainly("outlook", "day-range", **value)
    elif wish in ("rain", "outside"):
        verdict = rain_verdict(speaker, span) if wish == "rain" else outside_verdict(speaker, day, name, units)
        more = _placed(speaker, day_clause(speaker, day, name, units), city)
    else:
        return ""
    return join(sentence(verdict), sentence(more))


def told_day(speaker: Speaker, clause: str, rain: str) -> str:
    """A day and its chance of rain, in one sentence or two."""
    if ";" not in clause + rain and ":" not in clause + rain and speaker.chance(0.4):
        return sentence(f"{clause}; {rain}")
    return join(sentence(clause), sentence(rain))


def _placed(speaker: Speaker, clause: str, city: City) -> str:
    return f"in {city.name}, {clause}" if speaker.chance(0.6) or "," in clause else f"{clause} in {city.name}"


def span_answer(
    speaker: Speaker, city: City, span: Span, wish: str, units: Units, *, goes_on: bool = False, intro: str = ""
) -> str:
    """An answer about several days: the verdict or an introduction, the days or their range, and an end.

    Args:
        speaker: the persona.
        city: the place.
        span: the days that were asked about.
        wish: what was asked: "general", "rain", "dry", "best" or "pack".
        units: how numbers are written.
        goes_on: a part of an answer, whose dateline and end the caller adds.
        intro: what introduces the days; by default words of the persona that name the place.
    """
    verdict = _verdict(speaker, span, wish, units)
    intro = intro or speaker.say("forecast_intro", place=city.name, span=span.words)
    few, told = len(span.days) <= _FEW, wish in _VERDICTS_ON_DAYS
    if not told and len(alike_runs(span.days)) <= MOST_RUNS and not (few and speaker.chance(_DAY_BY_DAY)):
        facts = _course(speaker, intro, span, units)
    elif few:
        facts = _day_by_day(speaker, intro, span, units, wet=not told)
    else:
        facts = _overview(speaker, intro, span, units, wet=not told)
    answer = join(sentence(verdict) if verdict else "", facts)
    share = _REMARKS_AFTER_COURSE if "course" in speaker.slots else 1.0
    return answer if goes_on else dateline(speaker, city, join(answer, forecast_end(speaker, span, units, share)))


def _verdict(speaker: Speaker, span: Span, wish: str, units: Units) -> str:
    if wish == "best":
        return best_verdict(speaker, span, units)
    judges = {"rain": rain_verdict, "dry": dry_verdict, "pack": packing_verdict}
    return judges[wish](speaker, span) if wish in judges else ""


def _day_by_day(speaker: Speaker, intro: str, span: Span, units: Units, *, wet: bool) -> str:
    clauses = [day_clause(speaker, day, span.name(day), units) for day in span.days]
    told = [sentence(f"{intro}: {clauses[0]}"), *map(sentence, clauses[1:])]
    if not wet:
        return join(*told)
    only = span.wet[0] if len(span.wet) == 1 else None
    chance = rain_clause(speaker, only, span.name(only)) if only else falling_clause(speaker, span)
    return join(*told, sentence(chance))


def _course(speaker: Speaker, intro: str, span: Span, units: Units) -> str:
    worst, temperatures = severe_clause(speaker, span), sentence(range_clause(speaker, span, units))
    told = told_in_order(intro, course_clauses(speaker, span))
    return join(told, sentence(worst) if worst else "", temperatures)


def _overview(speaker: Speaker, intro: str, span: Span, units: Units, *, wet: bool) -> str:
    temperatures, worst = range_clause(speaker, span, units), severe_clause(speaker, span)
    if not wet:
        return join(sentence(f"{intro}: {temperatures}"), sentence(worst) if worst else "")
    falling, sky = falling_clause(speaker, span), sky_clause(speaker, span)
    if not span.wet:
        return join(sentence(f"{intro}: {falling}, {sky}"), sentence(temperatures))
    if worst:
        return join(sentence(f"{intro}: {falling}; {worst}"), sentence(temperatures))
    return join(sentence(f"{intro}: {falling}"), sentence(f"{temperatures}; {sky}" if sky else temperatures))
