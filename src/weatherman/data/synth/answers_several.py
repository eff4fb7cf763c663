"""Answers about several places."""

from __future__ import annotations

from weatherman.data.synth.answers_forecast import farewell
from weatherman.data.synth.answers_now import Now, report_clause
from weatherman.data.synth.satire import dateline
from weatherman.data.synth.speech import Speaker, join, sentence
from weatherman.data.synth.units import Units


def difference_clause(speaker: Speaker, first: Now, second: Now, units: Units) -> str:
    """Which of two places is warmer, and by how much, as the numbers are written."""
    one, other = units.degrees(first.weather.temperature_c), units.degrees(second.weather.temperature_c)
    names = {"a": first.city.name, "b": second.city.name}
    if one == other:
        return speaker.say("compare_even", **names, temp=units.temp(first.weather.temperature_c))
    warm, cool = (first, second) if one > other else (second, first)
    gap = units.difference(first.weather.temperature_c, second.weather.temperature_c)
    return speaker.say("compare", a=warm.city.name, b=cool.city.name, diff=gap)


def _local(speaker: Speaker, now: Now, units: Units) -> str:
    """One place's report, sometimes with a tail."""
    report = report_clause(speaker, now, units)
    return f"{report}, {speaker.say('tail', now.situation)}" if speaker.chance(0.45) else report


def compare_answer(speaker: Speaker, first: Now, second: Now, units: Units) -> str:
    """Two reports and the comparison, in either order."""
    verdict = sentence(_opened_maybe(speaker, difference_clause(speaker, first, second, units)))
    if speaker.chance(0.4):
        reports = [sentence(f"{report_clause(speaker, first, units)}; {report_clause(speaker, second, units)}")]
    else:
        reports = [
            sentence(_local(speaker, first, units)),
            sentence(_opened_maybe(speaker, _local(speaker, second, units))),
        ]
    sentences = [verdict, *reports] if speaker.chance(0.5) else [*reports, verdict]
    sentences[0] = dateline(speaker, first.city, sentences[0])
    return join(*sentences, farewell(speaker))


def _opened_maybe(speaker: Speaker, clause: str) -> str:
    return speaker.open(clause) if speaker.chance(0.4) else clause


def several_answer(speaker: Speaker, found: list[Now], units: Units) -> str:
    """Several places, and which is warmest."""
    reports = [_local(speaker, now, units) for now in found]
    sentences = [sentence(_opened_maybe(speaker, reports[0])), *(sentence(report) for report in reports[1:])]
    sentences[0] = dateline(speaker, found[0].city, sentences[0])
    ranked = sorted(found, key=lambda now: -units.degrees(now.weather.temperature_c))
    sentences.append(sentence(_opened_maybe(speaker, difference_clause(speaker, ranked[0], ranked[-1], units))))
    return join(*sentences)
