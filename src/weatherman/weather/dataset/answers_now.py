"""Answers about the weather at this moment: what was asked first, then the report, then what else decides."""

from __future__ import annotations

from dataclasses import dataclass

from weatherman.weather.dataset.climate import Weather
from weatherman.weather.dataset.gazetteer import City
from weatherman.weather.dataset.satire import dateline, newsroom
from weatherman.weather.dataset.situation import Situation, situation
from weatherman.weather.dataset.skies import put_sky, sky_words
from weatherman.weather.dataset.speech import Speaker, join, sentence
from weatherman.weather.dataset.units import Units, direction
from weatherman.weather.dataset.verdicts import danger_of, verdict_of

_FEELS_SAME_C, _FEELS_APART_C, _FEELS_FAR_APART_C = 0.5, 1.6, 2.0
_GUSTS_DECIDE_KMH, _GUSTS_TOLD_KMH = 40, 20
_SHORT_VERDICT = 60
_SPARE, _FIRST_SPARE = 0.1, 0.4
_REMARKS_AFTER_TAIL = {"general": 0.65, "this": 0.3}
# What a verdict or its reason has told already.
_TOLD_BY = {
    "heat": "feels", "cold": "feels", "damp": "humidity", "gusts": "wind", "strong": "wind", "still": "wind",
    "umbrella-gusts": "wind",
}  # fmt: skip
_IN_THE_SKY = ("storm", "rain", "snow", "fog", "cloud")
_ABOUT_WIND = ("wind", "kite", "bike")
_ABOUT_WARMTH = ("feels", "run", "jacket", "nice", "bike")


@dataclass(frozen=True, slots=True)
class Now:
    """What an answer about the present rests on."""

    city: City
    weather: Weather

    @property
    def situation(self) -> Situation:
        """Its tags."""
        return situation(self.city, self.weather)

    @property
    def danger(self) -> str:
        """What can hurt; empty if nothing."""
        return danger_of(self.weather)

    @property
    def hurts_anybody(self) -> bool:
        """Whether it can hurt whoever is outdoors; fog hurts those who drive, and they are told so by the verdict."""
        return self.danger not in ("", "fog")


def decisive(weather: Weather) -> list[str]:
    """The quantities that matter whatever was asked: gusts, and a felt temperature far from the measured."""
    apart = abs(weather.feels_like_c - weather.temperature_c)
    holds = {"wind": weather.gust_kmh >= _GUSTS_DECIDE_KMH, "feels": apart >= _FEELS_FAR_APART_C}
    return [kind for kind, held in holds.items() if held]


def report_clause(speaker: Speaker, now: Now, units: Units) -> str:
    """Place, temperature and sky in one clause."""
    weather = now.weather
    temp = units.temp(weather.temperature_c)
    clause = speaker.say("report", now.situation, place=now.city.name, temp=temp)
    return put_sky(speaker.rng, clause, sky_words(weather.condition))


def tailed_report(speaker: Speaker, now: Now, units: Units) -> str:
    """The report, often with a tail."""
    report = report_clause(speaker, now, units)
    return f"{report}, {speaker.say('tail', now.situation)}" if speaker.chance(speaker.manner.tails) else report


def fact_clause(speaker: Speaker, kind: str, now: Now, units: Units) -> str:
    """One of "wind", "humidity", "feels"; gusts of any strength to speak of are told with the wind."""
    weather, tags = now.weather, now.situation
    if kind == "humidity":
        return speaker.say("humidity", tags, humidity=f"{weather.humidity_pct} %")
    if kind == "feels" and abs(weather.feels_like_c - weather.temperature_c) < _FEELS_SAME_C:
        return speaker.plainly("units", "feels-same", feels=units.temp(weather.feels_like_c))
    if kind == "feels":
        return speaker.say("feels", tags, feels=units.temp(weather.feels_like_c))
    wind = speaker.say("wind", tags, wind=units.speed(weather.wind_kmh), dir=direction(weather.wind_dir))
    if weather.gust_kmh < _GUSTS_TOLD_KMH:
        return wind
    gusts = speaker.plainly("units", "gust", gust=units.speed(weather.gust_kmh))
    joint = "; " if "," in wind or ";" in wind else ", and "
    return f"{wind}{joint}{gusts}"


def facts_sentences(speaker: Speaker, kinds: list[str], now: Now, units: Units) -> str:
    """Measured quantities, a sentence each; two short ones are joined."""
    clauses = [fact_clause(speaker, kind, now, units) for kind in kinds]
    if len(clauses) == 2 and not any(mark in clause for clause in clauses for mark in ",;"):
        return sentence(speaker.rng.choice((", and ", "; ")).join(clauses))
    return join(*map(sentence, clauses))


def report_with(speaker: Speaker, kinds: list[str], now: Now, units: Units) -> tuple[str, str]:
    """The report, and the sentences of further quantities; a single quantity often goes into the report's sentence.

    Returns:
        The report as a clause, and sentences or nothing.
    """
    if kinds == ["feels"] or (len(kinds) == 1 and speaker.chance(0.5)):
        return f"{report_clause(speaker, now, units)}; {fact_clause(speaker, kinds[0], now, units)}", ""
    return tailed_report(speaker, now, units), facts_sentences(speaker, kinds, now, units)


def decisive_report(speaker: Speaker, now: Now, units: Units) -> str:
    """The report, and gusts and felt temperature where they matter."""
    report, more = report_with(speaker, decisive(now.weather), now, units)
    return join(sentence(report), more)


def verdict_clause(speaker: Speaker, intent: str, now: Now, units: Units, *, reported: bool = False) -> str:
    """Yes or no to what the user wants to do, and why not; empty if the question was only about the weather.

    Args:
        speaker: the persona.
        intent: what the user wants to do.
        now: place and weather.
        units: how numbers are written.
        reported: the report comes next, so that a reason in the sky need not be told here.
    """
    weather = now.weather
    tag, reason = verdict_of(intent, weather, now.situation)
    if not tag:
        return ""
    gust = units.speed(weather.gust_kmh)
    verdict = speaker.plainly("verdict", tag, gust=gust)
    if not reason or (reported and reason in _IN_THE_SKY):
        return verdict
    because = speaker.plainly(
        "because", reason, gust=gust, wind=units.speed(weather.wind_kmh), feels=units.temp(weather.feels_like_c),
        humidity=f"{weather.humidity_pct} %",
    )  # fmt: skip
    return f"{verdict}, {put_sky(speaker.rng, because, sky_words(weather.condition))}"


def headed(speaker: Speaker, verdict: str, report: str) -> str:
    """A verdict and the report: two sentences, or a short verdict before a colon."""
    if len(verdict) < _SHORT_VERDICT and ":" not in verdict + report and speaker.chance(0.6):
        return sentence(f"{verdict}: {report}")
    return join(sentence(verdict), sentence(report))


def choose_facts(speaker: Speaker, intent: str, now: Now) -> list[str]:
    """Which quantities belong in the answer: what was asked for first, then what decides, then perhaps another."""
    weather = now.weather
    deciding = decisive(weather)
    apart = abs(weather.feels_like_c - weather.temperature_c) >= _FEELS_APART_C
    windy = intent in _ABOUT_WIND or "wind" in deciding
    felt = intent == "feels" or "feels" in deciding or (apart and intent in _ABOUT_WARMTH)
    needed = {"humidity": intent in ("humidity", "laundry"), "wind": windy, "feels": felt}
    kinds = sorted((kind for kind, holds in needed.items() if holds), key=lambda kind: kind != intent)
    tag, reason = verdict_of(intent, weather, now.situation)
    told = _TOLD_BY.get(reason or tag, "")
    kinds = [kind for kind in kinds if kind != told]
    spare = [kind for kind in ("wind", "humidity") if kind not in (*kinds, told)]
    more = 0.0 if intent != "general" else _SPARE if kinds else _FIRST_SPARE
    if len(kinds) < 2 and spare and speaker.chance(more):
        kinds.append(speaker.rng.choice(spare))
    return kinds


def safety_sentence(speaker: Speaker, now: Now, *, named: bool = False) -> str:
    """Sound advice where the weather can hurt, after a turn to earnest; else nothing.

    Args:
        speaker: the persona.
        now: place and weather.
        named: several places are spoken of, so that this one is named.
    """
    if not now.hurts_anybody:
        return ""
    earnest = speaker.say("safety", Situation(frozenset({now.danger}), now.situation.times))
    place = f"in {now.city.name}, " if named else ""
    return sentence(f"{earnest}: {place}{speaker.plainly('safety', f'{now.danger}-first')}")


def parting(speaker: Speaker, now: Now, *, advise: bool, about: str = "general") -> str:
    """What ends an answer: safety where the weather can hurt, else news, a maxim, advice or a remark, or nothing.

    Args:
        speaker: the persona.
        now: place and weather.
        advise: there is room for advice.
        about: "general", or "this" where the user asked about one thing, which a remark would lead away from.
    """
    tags = now.situation
    if safety := safety_sentence(speaker, now):
        return safety
    if news := newsroom(speaker, tags):
        return news
    spoken = _REMARKS_AFTER_TAIL[about] if "tail" in speaker.slots else 1.0
    if speaker.chance(spoken * speaker.manner.remarks):
        return speaker.tell("maxim" if speaker.has("maxim") and speaker.chance(0.4) else "comment", tags)
    return speaker.tell("advice", tags) if advise and speaker.chance(speaker.manner.advice) else ""


def brief_answer(
    speaker: Speaker, now: Now, units: Units, intent: str = "general", *, dated: bool = True, leave: str = ""
) -> str:
    """An answer of one to four sentences: what was asked for, the report, what decides, and safety.

    Args:
        speaker: the persona.
        now: place and weather.
        units: how numbers are written.
        intent: what the user wanted to know, e.g. "umbrella".
        dated: whether it may begin with a dateline; not in the middle of an answer.
        leave: a quantity that is left for a later question.
    """
    kinds = [kind for kind in choose_facts(speaker, intent, now) if kind != leave]
    answer = join(_facts(speaker, now, units, intent, kinds[:2]), safety_sentence(speaker, now))
    return dateline(speaker, now.city, answer) if dated else answer


def current_answer(speaker: Speaker, now: Now, units: Units, intent: str = "general") -> str:
    """An answer of two to six sentences; arguments as for `brief_answer`."""
    facts = _facts(speaker, now, units, intent, choose_facts(speaker, intent, now))
    general = intent == "general"
    end = parting(speaker, now, advise=general, about="general" if general else "this")
    return dateline(speaker, now.city, join(facts, end))


def _facts(speaker: Speaker, now: Now, units: Units, intent: str, kinds: list[str]) -> str:
    """The verdict or the reading that was asked for, the report, and the other readings."""
    verdict, others = verdict_clause(speaker, intent, now, units, reported=True), list(kinds)
    asked = others.pop(kinds.index(intent)) if not verdict and intent in kinds else ""
    reading = sentence(fact_clause(speaker, asked, now, units)) if asked else ""
    report, more = report_with(speaker, others, now, units)
    told = headed(speaker, verdict, report) if verdict else sentence(report)
    return join(reading, told, more)
