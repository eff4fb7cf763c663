"""Answers about the days to come: what was asked first, then every day that matters."""

from __future__ import annotations

from weatherman.data.synth.climate import Day
from weatherman.data.synth.day_names import what_falls
from weatherman.data.synth.gazetteer import City
from weatherman.data.synth.outlooks import (
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
)
from weatherman.data.synth.satire import dateline, statistic
from weatherman.data.synth.situation import ANYWHERE, Situation
from weatherman.data.synth.skies import forecast_words, put_sky
from weatherman.data.synth.speech import Speaker, join, sentence
from weatherman.data.synth.units import Units

_DANGEROUS_HIGH_C = 39
_FEW = 3  # so many days are told one by one


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
    clause = _tidy(speaker.say("forecast_rain", day=name, chance=f"{day.rain_chance_pct} %"))
    return clause.replace("rain or snow", what_falls([day]))


def forecast_end(speaker: Speaker, span: Span, units: Units) -> str:
    """Advice against great heat; else a remark about the days ahead, or news; often nothing from a brief persona."""
    top = max(day.high_c for day in span.days)
    if top >= _DANGEROUS_HIGH_C:
        advice = speaker.plainly("safety", "heat-first")
        return sentence(speaker.plainly("outlook", "hot-days", high=units.temp(top), advice=advice))
    if span.mood != "storm" and not speaker.chance(speaker.manner.remarks):
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
    day = span.days[0]
    name = span.name(day)
    clause = _placed(speaker, day_clause(speaker, day, name, units), city)
    rain = rain_clause(speaker, day, name)
    if wish == "rain":
        sentences = [sentence(rain_verdict(speaker, span)), sentence(clause)]
    elif wish == "outside":
        sentences = [sentence(outside_verdict(speaker, day, name, units)), sentence(clause)]
    elif wish in ("warm", "cold"):
        tag = {"warm": "warmest", "cold": "coldest"}[wish]
        value = {"high": units.temp(day.high_c), "low": units.temp(day.low_c)}
        sentences = [
            sentence(speaker.plainly("outlook", f"only-{tag}", day=name, **value)),
            told_day(speaker, clause, rain),
        ]
    else:
        sentences = [told_day(speaker, clause, rain)]
    return dateline(speaker, city, join(*sentences, forecast_end(speaker, span, units)))


def told_day(speaker: Speaker, clause: str, rain: str) -> str:
    """A day and its chance of rain, in one sentence or two."""
    if ";" not in clause + rain and ":" not in clause + rain and speaker.chance(0.4):
        return sentence(f"{clause}; {rain}")
    return join(sentence(clause), sentence(rain))


def _placed(speaker: Speaker, clause: str, city: City) -> str:
    return f"in {city.name}, {clause}" if speaker.chance(0.6) or "," in clause else f"{clause} in {city.name}"


def span_answer(speaker: Speaker, city: City, span: Span, wish: str, units: Units, *, goes_on: bool = False) -> str:
    """An answer about several days: the verdict or an introduction, the days or their range, and an end.

    Args:
        speaker: the persona.
        city: the place.
        span: the days that were asked about.
        wish: what was asked: "general", "rain", "dry", "best" or "pack".
        units: how numbers are written.
        goes_on: another part of the answer stands before it, so that it has no dateline and no end.
    """
    verdict = _verdict(speaker, span, wish, units)
    intro = speaker.say("forecast_intro", place=city.name, span=span.words)
    if len(span.days) <= _FEW:
        facts = _day_by_day(speaker, intro, span, units, wet=wish != "rain")
    else:
        facts = _overview(speaker, intro, span, units, wet=wish != "rain")
    answer = join(sentence(verdict) if verdict else "", facts)
    return answer if goes_on else dateline(speaker, city, join(answer, forecast_end(speaker, span, units)))


def _verdict(speaker: Speaker, span: Span, wish: str, units: Units) -> str:
    if wish == "best":
        return best_verdict(speaker, span, units)
    judges = {"rain": rain_verdict, "dry": dry_verdict, "pack": packing_verdict}
    return judges[wish](speaker, span) if wish in judges else ""


def _day_by_day(speaker: Speaker, intro: str, span: Span, units: Units, *, wet: bool) -> str:
    clauses = [day_clause(speaker, day, span.name(day), units) for day in span.days]
    told = [sentence(f"{intro}: {clauses[0]}"), *map(sentence, clauses[1:])]
    if len(span.days) == 1:
        return join(*told, sentence(rain_clause(speaker, span.days[0], span.name(span.days[0]))))
    return join(*told, sentence(falling_clause(speaker, span)) if wet else "")


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
