"""Answers about the weather at this moment."""

from __future__ import annotations

from dataclasses import dataclass

from weatherman.data.synth.climate import Weather
from weatherman.data.synth.gazetteer import City
from weatherman.data.synth.satire import dateline, newsroom
from weatherman.data.synth.situation import Situation, situation
from weatherman.data.synth.skies import put_sky, sky_words
from weatherman.data.synth.speech import Speaker, join, sentence
from weatherman.data.synth.units import Units, direction
from weatherman.data.synth.verdicts import danger_of, verdict_tag

_FEELS_APART_C = 1.6


@dataclass(frozen=True, slots=True)
class Now:
    """What an answer about the present rests on."""

    city: City
    weather: Weather

    @property
    def situation(self) -> Situation:
        """Its tags."""
        return situation(self.city, self.weather)


def report_clause(speaker: Speaker, now: Now, units: Units) -> str:
    """Place, temperature and sky in one clause."""
    weather = now.weather
    temp = units.temp(weather.temperature_c)
    clause = speaker.say("report", now.situation, place=now.city.name, temp=temp)
    return put_sky(speaker.rng, clause, sky_words(weather.condition))


def fact_clause(speaker: Speaker, kind: str, now: Now, units: Units) -> str:
    """One of "wind", "humidity", "feels"."""
    weather, tags = now.weather, now.situation
    if kind == "wind":
        return speaker.say("wind", tags, wind=units.speed(weather.wind_kmh), dir=direction(weather.wind_dir))
    if kind == "humidity":
        return speaker.say("humidity", tags, humidity=f"{weather.humidity_pct} %")
    return speaker.say("feels", tags, feels=units.temp(weather.feels_like_c))


def report_sentence(speaker: Speaker, now: Now, units: Units) -> str:
    """The sentence that gives place, temperature and sky, in voice."""
    tags = now.situation
    report = report_clause(speaker, now, units)
    form = speaker.rng.choices(("opener", "tail", "both", "remark"), (28, 42, 12, 18))[0]
    if form == "remark":
        text = speaker.remark(report, tags)
    else:
        text = report if form == "opener" else f"{report}, {speaker.say('tail', tags)}"
        text = text if form == "tail" else speaker.open(text, tags)
    return dateline(speaker, now.city, sentence(text))


def facts_sentence(speaker: Speaker, kinds: list[str], now: Now, units: Units) -> str:
    """One or two measured quantities in a sentence."""
    tags, rng = now.situation, speaker.rng
    clauses = [fact_clause(speaker, kind, now, units) for kind in kinds]
    if len(clauses) == 2:
        plain = ", and " not in clauses[0] and ", " not in clauses[1]
        text = rng.choice((", and ", ", while ", "; ") if plain else ("; ",)).join(clauses)
        return sentence(speaker.open(text, tags) if speaker.chance(0.3) else text)
    return sentence(speaker.open(clauses[0], tags) if speaker.chance(0.4) else speaker.remark(clauses[0], tags))


def parting(speaker: Speaker, tags: Situation, *, advise: bool) -> str:
    """What ends an answer, one or two sentences: news, a maxim, advice, a remark, a farewell."""
    news = "" if advise and "storm" in tags.weather else newsroom(speaker, tags)
    if news:
        return news
    if speaker.has("maxim") and speaker.chance(0.4):
        maxim = speaker.say("maxim", tags)
        if advise and speaker.chance(0.4):
            return sentence(f"{maxim}, so {speaker.say('advice', tags)}")
        return join(sentence(maxim), sentence(speaker.say("closer", tags)) if speaker.chance(0.5) else "")
    if not advise:
        first = sentence(
            speaker.open(speaker.say("comment", tags), tags) if speaker.chance(0.4) else speaker.say("comment", tags)
        )
        return join(
            first, sentence(speaker.say("closer", tags)) if speaker.chance(speaker.manner.farewells / 2) else ""
        )
    advice = speaker.say("advice", tags)
    form = speaker.rng.choices(("opener", "comment", "closer", "bare"), (25, 25, 20, 30))[0]
    if form == "opener":
        return sentence(speaker.open(advice, tags))
    if form == "closer" and speaker.chance(speaker.manner.farewells):
        return join(sentence(advice), sentence(speaker.say("closer", tags)))
    if form == "comment" and speaker.chance(speaker.manner.remarks):
        return join(sentence(speaker.say("comment", tags)), sentence(advice))
    return sentence(advice)


def verdict_sentence(speaker: Speaker, intent: str, now: Now) -> str:
    """Yes or no to what the user wants to do; empty if the question was only about the weather."""
    tag = verdict_tag(intent, now.weather, now.situation)
    if not tag:
        return ""
    verdict = speaker.draw("shared", "verdict", Situation(frozenset({tag})))
    tags = now.situation
    return sentence(speaker.open(verdict, tags) if speaker.chance(0.4) else speaker.remark(verdict, tags))


def choose_facts(speaker: Speaker, intent: str, now: Now) -> list[str]:
    """Which quantities belong in the answer, the one that was asked for first."""
    asked = {"wind": ["wind"], "kite": ["wind"], "bike": ["wind"], "humidity": ["humidity"], "feels": ["feels"],
             "laundry": ["humidity"]}.get(intent, [])  # fmt: skip
    apart = abs(now.weather.feels_like_c - now.weather.temperature_c) >= _FEELS_APART_C
    if apart and intent in ("run", "jacket"):
        asked = ["feels"]
    others = ["wind", "humidity"] + (["feels"] if apart else [])
    speaker.rng.shuffle(others)
    count = max(len(asked), speaker.rng.choices((0, 1, 2), (30, 45, 25))[0])
    return [*asked, *(kind for kind in others if kind not in asked)][:count]


def _advises(speaker: Speaker, now: Now, verdict: str) -> bool:
    """Always where the weather can hurt; else mostly, unless a verdict has been given."""
    return bool(danger_of(now.weather)) or (not verdict and speaker.chance(0.7))


def brief_answer(speaker: Speaker, now: Now, units: Units, intent: str = "general") -> str:
    """An answer of one or two sentences: the report, and the verdict or the reading that was asked for."""
    report = report_sentence(speaker, now, units)
    if verdict := verdict_sentence(speaker, intent, now):
        return join(report, verdict)
    kinds = choose_facts(speaker, intent, now)[:1]
    return join(report, facts_sentence(speaker, kinds, now, units)) if kinds else report


def current_answer(speaker: Speaker, now: Now, units: Units, intent: str = "general", *, short: bool = False) -> str:
    """An answer of two to six sentences.

    Args:
        speaker: the persona.
        now: place and weather.
        units: how numbers are written.
        intent: what the user wanted to know, e.g. "umbrella".
        short: at most three sentences.
    """
    verdict = verdict_sentence(speaker, intent, now)
    sentences = [report_sentence(speaker, now, units)]
    kinds = choose_facts(speaker, intent, now)
    if kinds:
        sentences.append(facts_sentence(speaker, kinds, now, units))
    if verdict:
        sentences.insert(0 if speaker.chance(0.65) else len(sentences), verdict)
    if not short or len(sentences) < 2:
        sentences.append(parting(speaker, now.situation, advise=_advises(speaker, now, verdict)))
    return join(*sentences)
