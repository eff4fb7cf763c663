"""A forecast told in order, run by run: "dry and clear today, rain from tomorrow to Sunday, then it clears"."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby

from weatherman.weather.dataset.climate import Day
from weatherman.weather.dataset.day_names import what_falls
from weatherman.weather.dataset.outlooks import Span, dry_sky, falling_clause, sky_clause, wetness
from weatherman.weather.dataset.situation import Situation
from weatherman.weather.dataset.speech import Speaker, join, sentence

MOST_RUNS = 4


def alike_runs(days: Sequence[Day]) -> list[list[Day]]:
    """Days that follow each other and are alike: all wet, all dry, or all uncertain."""
    return [list(run) for _, run in groupby(days, key=wetness)]


def course_clauses(speaker: Speaker, span: Span) -> list[str]:
    """A clause for each run of a span, in order and in voice."""
    found = alike_runs(span.days)
    return [_clause(speaker, span, run, found[:index]) for index, run in enumerate(found)]


def _clause(speaker: Speaker, span: Span, run: list[Day], before: list[list[Day]]) -> str:
    kind = wetness(run[0])
    most = max(day.rain_chance_pct for day in run)
    several = len({day.rain_chance_pct for day in run}) > 1
    values = {"on": span.on(run), "what": what_falls(run), "odds": f"{'up to ' if several else ''}{most} %"}
    if kind == "wet":
        again = "-again" if any(wetness(earlier[0]) == "wet" for earlier in before) else ""
        tags = {f"{tag}{again}" for tag in ("wet", values["what"])}
    elif kind == "unsure":
        tags = {"unsure"}
    elif len(run) == len(span.days):
        if most == 0:
            return f"{falling_clause(speaker, span)}, {sky_clause(speaker, span)}"
        tags, values["odds"] = {f"all-{dry_sky(run)}"}, f"{most} %"
    else:
        after = "-after" if before and wetness(before[-1][0]) == "wet" else ""
        tags = {f"{dry_sky(run)}{after}"}
    return speaker.say("course", Situation(frozenset(tags)), **values)


def told_in_order(intro: str, clauses: Sequence[str]) -> str:
    """The introduction with the first clause, or with both of two; the others two to a sentence."""
    first, *rest = clauses
    if len(clauses) == 2:
        return sentence(f"{intro}: {first}; {rest[0]}")
    pairs = [rest[at : at + 2] for at in range(0, len(rest), 2)]
    return join(sentence(f"{intro}: {first}"), *(sentence("; ".join(pair)) for pair in pairs))
