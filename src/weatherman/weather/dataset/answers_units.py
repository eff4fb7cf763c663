"""Answers in the units that the user asked for."""

from __future__ import annotations

from weatherman.weather.dataset.answers_now import Now, current_answer, decisive, fact_clause, parting, report_with
from weatherman.weather.dataset.satire import dateline
from weatherman.weather.dataset.skies import put_sky, sky_words
from weatherman.weather.dataset.speech import Speaker, join, sentence
from weatherman.weather.dataset.units import Units

FAHRENHEIT = Units("°F", "mph")
WANTED = {"fahrenheit": FAHRENHEIT, "imperial": FAHRENHEIT, "knots": Units(wind="knots"), "ms": Units(wind="m/s")}


def both_scales(celsius: float) -> dict[str, str]:
    """A temperature on both scales."""
    return {"c": Units(decimals=1).temp(celsius), "f": FAHRENHEIT.temp(celsius)}


def units_answer(speaker: Speaker, now: Now, wanted: str) -> str:
    """An answer in Fahrenheit ("fahrenheit", "imperial"), "knots", "ms", or "both" temperature scales."""
    if wanted == "fahrenheit":
        return current_answer(speaker, now, FAHRENHEIT)
    if wanted == "both":
        clause = speaker.plainly("units", "both", place=now.city.name, **both_scales(now.weather.temperature_c))
        more = fact_clause(speaker, speaker.rng.choice(("wind", "humidity")), now, Units())
        facts = [sentence(put_sky(speaker.rng, clause, sky_words(now.weather.condition))), sentence(more)]
    else:
        units = WANTED[wanted]
        wind = fact_clause(speaker, "wind", now, units)
        report, felt = report_with(speaker, ["feels"] if "feels" in decisive(now.weather) else [], now, units)
        facts = [sentence(wind), join(sentence(report), felt)]
        if wanted == "imperial":
            facts.reverse()
    return dateline(speaker, now.city, join(*facts, parting(speaker, now, advise=speaker.chance(0.5))))


def converted(speaker: Speaker, now: Now, wanted: str) -> str:
    """A follow-up answer that converts a reading given before ("fahrenheit" or "mph")."""
    weather = now.weather
    if wanted == "fahrenheit":
        clause = speaker.plainly("units", "fahrenheit", **both_scales(weather.temperature_c))
    else:
        speeds = {"kmh": Units().speed(weather.wind_kmh), "mph": FAHRENHEIT.speed(weather.wind_kmh)}
        clause = speaker.plainly("units", "mph", **speeds)
    return sentence(clause)
