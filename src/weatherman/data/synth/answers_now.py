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
from weatherman.data.synth.verdicts import verdict_tag

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
    tags, rng = now.situation, speaker.rng
    report = report_clause(speaker, now, units)
    form = rng.choices(("opener", "tail", "both", "comment after", "comment before"), (26, 30, 14, 20, 10))[0]
    if form == "opener":
        text = speaker.open(report, tags)
    elif form == "tail":
        text = f"{report}, {speaker.say('tail', tags)}"
    elif form == "both":
        text = f"{speaker.say('opener', tags)}, {report}, {speaker.say('tail', tags)}"
    elif form == "comment after":
        text = f"{report}; {speaker.say('comment', tags)}"
    else:
        text = f"{speaker.say('comment', tags)}; {report}"
    return dateline(speaker, now.city, sentence(text))


def facts_sentence(speaker: Speaker, kinds: list[str], now: Now, units: Units) -> str:
    """One or two measured quantities in a sentence."""
    tags, rng = now.situation, speaker.rng
    clauses = [fact_clause(speaker, kind, now, units) for kind in kinds]
    if len(clauses) == 2:
        plain = ", and " not in clauses[0] and ", " not in clauses[1]
        joiner = rng.choice((", and ", ", while ", "; ")) if plain else "; "
        text = joiner.join(clauses)
        return sentence(speaker.open(text, tags) if speaker.chance(0.35) else text)
    if speaker.chance(0.5):
        return sentence(speaker.open(clauses[0], tags))
    remark = speaker.say("comment", tags)
    return sentence(f"{clauses[0]}; {remark}" if speaker.chance(0.6) else f"{remark}; {clauses[0]}")


def parting_sentence(speaker: Speaker, tags: Situation, *, advise: bool) -> str:
    """The sentence that ends an answer: remark, advice, or farewell, joined."""
    rng = speaker.rng
    news = newsroom(speaker, tags)
    if news:
        return news
    if speaker.persona == "franklin" and speaker.chance(0.4):
        maxim = speaker.say("maxim", tags)
        if advise and speaker.chance(0.5):
            return sentence(f"{maxim}, so {speaker.say('advice', tags)}")
        return sentence(f"{maxim}; {speaker.say(rng.choice(('comment', 'closer')), tags)}")
    if not advise:
        first = speaker.say("comment", tags)
        if speaker.chance(0.5):
            return sentence(speaker.open(first, tags))
        return sentence(f"{first}, and {speaker.say('closer', tags)}" if ", and" not in first else first)
    advice = speaker.say("advice", tags)
    form = rng.choices(("opener", "so", "comment", "closer"), (30, 25, 25, 20))[0]
    if form == "opener":
        return sentence(speaker.open(advice, tags))
    if form == "so":
        return sentence(f"{speaker.say('comment', tags)}, so {advice}")
    if form == "comment":
        return sentence(f"{speaker.say('comment', tags)}; {advice}")
    return sentence(f"{advice}; {speaker.say('closer', tags)}")


def verdict_sentence(speaker: Speaker, intent: str, now: Now) -> str:
    """Yes or no to what the user wants to do; empty if the question was only about the weather."""
    tag = verdict_tag(intent, now.weather, now.situation)
    if not tag:
        return ""
    verdict = speaker.draw("shared", "verdict", Situation(frozenset({tag})))
    tags = now.situation
    form = speaker.rng.choices(("bare", "opener", "comment"), (15, 55, 30))[0]
    if form == "opener":
        return sentence(speaker.open(verdict, tags))
    if form == "comment":
        return sentence(f"{verdict}; {speaker.say('comment', tags)}")
    return sentence(f"{verdict}, {speaker.say('tail', tags)}") if speaker.chance(0.5) else sentence(verdict)


def choose_facts(speaker: Speaker, intent: str, now: Now) -> list[str]:
    """Which quantities belong in the answer, the one that was asked for first."""
    asked = {"wind": ["wind"], "kite": ["wind"], "bike": ["wind"], "humidity": ["humidity"], "feels": ["feels"],
             "laundry": ["humidity"], "run": ["feels"], "jacket": ["feels"]}.get(intent, [])  # fmt: skip
    apart = abs(now.weather.feels_like_c - now.weather.temperature_c) >= _FEELS_APART_C
    others = ["wind", "humidity"] + (["feels"] if apart else [])
    speaker.rng.shuffle(others)
    count = max(len(asked), speaker.rng.choices((0, 1, 2), (30, 45, 25))[0])
    return [*asked, *(kind for kind in others if kind not in asked)][:count]


def brief_answer(speaker: Speaker, now: Now, units: Units, intent: str = "general") -> str:
    """An answer of one or two sentences: the report, and the verdict or the reading that was asked for."""
    report = report_sentence(speaker, now, units)
    if verdict := verdict_sentence(speaker, intent, now):
        return join(report, verdict)
    kinds = choose_facts(speaker, intent, now)[:1]
    return join(report, facts_sentence(speaker, kinds, now, units)) if kinds else report


def current_answer(speaker: Speaker, now: Now, units: Units, intent: str = "general", *, short: bool = False) -> str:
    """An answer of two to five sentences.

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
        sentences.append(parting_sentence(speaker, now.situation, advise=not verdict and speaker.chance(0.7)))
    return join(*sentences)
