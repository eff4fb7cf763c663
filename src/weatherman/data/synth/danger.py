"""Weather that can hurt, and the answer to it: serious first, in voice around it."""

from __future__ import annotations

from weatherman.data.synth.answers_now import Now, choose_facts, facts_sentence, report_clause
from weatherman.data.synth.climate import Weather
from weatherman.data.synth.satire import dateline
from weatherman.data.synth.situation import Situation
from weatherman.data.synth.speech import Speaker, join, sentence
from weatherman.data.synth.units import Units

DANGERS = ("storm", "heat", "cold", "snow", "wind", "fog")
_HEAT_C, _HEAT_FELT_C, _COLD_FELT_C, _GUST_KMH = 37.0, 38.0, -18.0, 75


def danger_of(weather: Weather) -> str:
    """Which danger there is; empty if none."""
    rules = {
        "storm": weather.condition == "thunderstorm",
        "heat": weather.temperature_c >= _HEAT_C or weather.feels_like_c >= _HEAT_FELT_C,
        "cold": weather.feels_like_c <= _COLD_FELT_C,
        "snow": weather.condition == "heavy snow",
        "wind": weather.gust_kmh >= _GUST_KMH,
        "fog": weather.condition == "fog",
    }
    return next((danger for danger in DANGERS if rules[danger]), "")


def safety_answer(speaker: Speaker, now: Now, units: Units, danger: str) -> str:
    """The weather, a turn to earnest, and two pieces of correct advice."""
    tag = Situation(frozenset({danger}), now.situation.times)
    serious = speaker.say("safety", tag)
    first, second = speaker.draw("shared", "safety", tag), speaker.draw("shared", "safety", tag)
    report = report_clause(speaker, now, units)
    if speaker.chance(0.6):
        report = f"{report}, {speaker.say('tail', now.situation)}"
    warning = sentence(f"{serious}; {first}" if speaker.chance(0.5) else f"{serious}: {first}")
    sentences = [dateline(speaker, now.city, sentence(report)), warning]
    asked = {"wind": "wind", "heat": "feels", "cold": "feels"}.get(danger)
    kinds = [asked] if asked else choose_facts(speaker, "general", now)[:1]
    if kinds:
        sentences.insert(1, facts_sentence(speaker, kinds, now, units))
    end = f"{speaker.say('opener')}, {second}" if speaker.chance(0.4) else f"{second}; {speaker.say('advice', tag)}"
    return join(*sentences, sentence(end))
