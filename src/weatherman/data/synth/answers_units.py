"""Answers in the units that the user asked for."""

from __future__ import annotations

from weatherman.data.synth.answers_now import Now, current_answer, fact_clause, parting, report_sentence
from weatherman.data.synth.satire import dateline
from weatherman.data.synth.situation import Situation
from weatherman.data.synth.skies import sky_words
from weatherman.data.synth.speech import Speaker, join, sentence
from weatherman.data.synth.units import Units

FAHRENHEIT = Units("°F", "mph")
WANTED = {"fahrenheit": FAHRENHEIT, "imperial": FAHRENHEIT, "knots": Units(wind="knots"), "ms": Units(wind="m/s")}

_LOOKS = (
"outdoors you will meet {sky}", "the report adds {sky}", "with it goes {sky}",
    "overhead, or thereabouts, you will find {sky}", "the other half of the news is {sky}", "beside that I have {sky}",
)  # fmt: skip


def _shared(speaker: Speaker, tag: str, **values: str) -> str:
    return speaker.draw("shared", "units", Situation(frozenset({tag})), **values)


def both_scales(celsius: float) -> dict[str, str]:
    """A temperature on both scales."""
    return {"c": Units().temp(celsius), "f": FAHRENHEIT.temp(celsius)}


def units_answer(speaker: Speaker, now: Now, wanted: str) -> str:
    """An answer in Fahrenheit ("fahrenheit", "imperial"), "knots", "ms", or "both" temperature scales."""
    tags = now.situation
    if wanted == "both":
        clause = _shared(speaker, "both", place=now.city.name, **both_scales(now.weather.temperature_c))
        first = dateline(speaker, now.city, sentence(speaker.open(clause, tags)))
        sky = speaker.rng.choice(sky_words(now.weather.condition))
        remark = f"{speaker.rng.choice(_LOOKS).format(sky=sky)}, {speaker.say('tail', tags)}"
        return join(first, sentence(remark), parting(speaker, tags, advise=speaker.chance(0.6)))
    units = WANTED[wanted]
    if wanted == "fahrenheit":
        return current_answer(speaker, now, units)
    wind = fact_clause(speaker, "wind", now, units)
    gust = _shared(speaker, "gust", gust=units.speed(now.weather.gust_kmh))
    windy = sentence(speaker.open(f"{wind}; {gust}", tags))
    return join(report_sentence(speaker, now, units), windy, parting(speaker, tags, advise=speaker.chance(0.6)))


def converted(speaker: Speaker, now: Now, wanted: str) -> str:
    """A follow-up answer that converts a reading given before ("fahrenheit" or "mph")."""
    weather = now.weather
    if wanted == "fahrenheit":
        clause = _shared(speaker, "fahrenheit", **both_scales(weather.temperature_c))
    else:
        clause = _shared(speaker, "mph", kmh=Units().speed(weather.wind_kmh), mph=FAHRENHEIT.speed(weather.wind_kmh))
    return sentence(speaker.open(clause, now.situation))
