"""Answers about the days to come."""

from __future__ import annotations

from datetime import date

from weatherman.data.synth.chat import WEEKDAYS
from weatherman.data.synth.climate import Day
from weatherman.data.synth.gazetteer import City
from weatherman.data.synth.satire import dateline, newsroom
from weatherman.data.synth.situation import ANYWHERE, Situation
from weatherman.data.synth.skies import forecast_words, put_sky
from weatherman.data.synth.speech import Speaker, join, sentence
from weatherman.data.synth.units import Units

_LIKELY_PCT, _UNLIKELY_PCT = 50, 25


def weekday(day: date) -> str:
    """The English name; not the machine's locale."""
    return WEEKDAYS[day.weekday()]


def day_name(day: Day, start: date) -> str:
    """``today``, ``Tuesday``, and from the second week on ``Tuesday the 14th``."""
    offset = (day.date - start).days
    if offset == 0:
        return "today"
    name = weekday(day.date)
    if offset < 7:
        return name
    number = day.date.day
    suffix = "th" if 10 < number < 14 else {1: "st", 2: "nd", 3: "rd"}.get(number % 10, "th")
    return f"{name} the {number}{suffix}"


def _tidy(text: str) -> str:
    """Prepositions that a weekday wants and "tomorrow" refuses."""
    for name in ("today", "tomorrow"):
        text = text.replace(f"on {name}", name).replace(f"On {name}", name)
    return text.replace("today night", "tonight")


def day_clause(speaker: Speaker, day: Day, name: str, units: Units) -> str:
    """High, low and sky of one day."""
    high, low = units.temp(day.high_c), units.temp(day.low_c)
    clause = speaker.say("forecast_day", day=name, high=high, low=low)
    return _tidy(put_sky(speaker.rng, clause, forecast_words(day.condition)))


def rain_clause(speaker: Speaker, day: Day, name: str) -> str:
    """The chance of rain or snow on one day."""
    return _tidy(speaker.say("forecast_rain", day=name, chance=f"{day.rain_chance_pct} %"))


def outlook_clause(speaker: Speaker, tag: str, **values: str) -> str:
    """A judgement from the shared bank."""
    return _tidy(speaker.draw("shared", "outlook", Situation(frozenset({tag})), **values))


def dry_or_wet(speaker: Speaker, day: Day, name: str) -> str:
    """Whether a day looks dry."""
    likely, unlikely = day.rain_chance_pct >= _LIKELY_PCT, day.rain_chance_pct <= _UNLIKELY_PCT
    return outlook_clause(speaker, "wet" if likely else "dry" if unlikely else "maybe", day=name)


def extreme_clause(speaker: Speaker, tag: str, days: list[Day], start: date, units: Units) -> str:
    """The warmest, coldest or wettest of several days."""
    if tag == "wettest":
        day = max(days, key=lambda one: one.rain_chance_pct)
        if day.rain_chance_pct <= _UNLIKELY_PCT:
            return outlook_clause(speaker, "alldry", chance=f"{day.rain_chance_pct} %")
        return outlook_clause(speaker, tag, day=day_name(day, start), chance=f"{day.rain_chance_pct} %")
    if tag == "warmest":
        day = max(days, key=lambda one: one.high_c)
        return outlook_clause(speaker, tag, day=day_name(day, start), high=units.temp(day.high_c))
    day = min(days, key=lambda one: one.low_c)
    return outlook_clause(speaker, tag, day=day_name(day, start), low=units.temp(day.low_c))


def farewell(speaker: Speaker) -> str:
    """What ends a forecast, tied to no weather; often nothing, where the persona is brief."""
    if news := newsroom(speaker, ANYWHERE):
        return news
    if not speaker.chance(speaker.manner.farewells):
        return ""
    slots = ["closer", "comment", *(["maxim"] if speaker.has("maxim") else [])]
    slot = speaker.rng.choice(slots) if speaker.chance(speaker.manner.remarks) else "closer"
    clause = speaker.say(slot)
    return sentence(speaker.open(clause) if speaker.chance(0.3) else clause)


def _pair(speaker: Speaker, first: str, second: str) -> str:
    """Two clauses in one sentence."""
    busy = first.count(",") + second.count(",") > 2
    return f"{first}{'; ' if busy else speaker.rng.choice(('; ', ', while ', ', and '))}{second}"


def single_day_answer(speaker: Speaker, city: City, day: Day, name: str, units: Units) -> str:
    """An answer about one day."""
    clause, rain = day_clause(speaker, day, name, units), rain_clause(speaker, day, name)
    head = f"in {city.name}, {clause}" if speaker.chance(0.5) else speaker.open(f"{clause} in {city.name}")
    sentences = [dateline(speaker, city, sentence(head)), sentence(speaker.remark(rain))]
    if speaker.chance(0.6):
        verdict = dry_or_wet(speaker, day, name)
        sentences.insert(
            speaker.rng.choice((0, 2)), sentence(speaker.open(verdict) if speaker.chance(0.4) else verdict)
        )
    return join(*sentences, farewell(speaker))


def span_answer(
    speaker: Speaker, city: City, days: list[Day], start: date, span: str, units: Units, *, goes_on: bool = False
) -> str:
    """An answer about several days: an introduction, the days or the extremes among them, and an end.

    Args:
        speaker: the persona.
        city: the place.
        days: the days that were asked about.
        start: the first day of the forecast, called today.
        span: the days in words, e.g. ``the next 5 days``.
        units: how numbers are written.
        goes_on: another part of the answer stands before it, so that it has no dateline and no end.
    """
    rng = speaker.rng
    intro = speaker.say("forecast_intro", place=city.name, span=span)
    if len(days) <= 3:
        shown = list(days)
    else:
        shown = sorted(rng.sample(days[1:], 2 if len(days) < 8 else 1), key=lambda day: day.date)
    clauses = [day_clause(speaker, day, day_name(day, start), units) for day in shown]
    lead = speaker.open(intro) if speaker.chance(0.4) else intro
    first = sentence(f"{lead}: {clauses[0]}")
    sentences = [first if goes_on else dateline(speaker, city, first)]
    if len(clauses) == 2:
        sentences.append(sentence(speaker.open(clauses[1]) if speaker.chance(0.4) else clauses[1]))
    elif len(clauses) == 3:
        sentences.append(sentence(_pair(speaker, clauses[1], clauses[2])))
    if len(days) > 3:
        kinds = rng.sample(("warmest", "coldest", "wettest"), 2)
        first, second = (extreme_clause(speaker, kind, days, start, units) for kind in kinds)
        sentences.append(sentence(_pair(speaker, first, second)))
    else:
        wettest = max(days, key=lambda day: day.rain_chance_pct)
        rain = rain_clause(speaker, wettest, day_name(wettest, start))
        sentences.append(sentence(rain))
    return join(*sentences, "" if goes_on else farewell(speaker))
