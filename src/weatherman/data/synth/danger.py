"""Weather that can hurt, and the answer to it: serious first, in voice around it."""

from __future__ import annotations

from weatherman.data.synth.answers_now import Now, choose_facts, facts_sentence, report_clause
from weatherman.data.synth.satire import dateline
from weatherman.data.synth.situation import Situation
from weatherman.data.synth.speech import Speaker, join, sentence
from weatherman.data.synth.units import Units


def safety_answer(speaker: Speaker, now: Now, units: Units, danger: str) -> str:
    """The weather, a turn to earnest, and two pieces of correct advice."""
    tag = Situation(frozenset({danger}), now.situation.times)
    serious = speaker.say("safety", tag)
    first = speaker.draw("shared", "safety", Situation(frozenset({f"{danger}-first"})))
    second = speaker.draw("shared", "safety", tag)
    report = report_clause(speaker, now, units)
    if speaker.chance(0.6):
        report = f"{report}, {speaker.say('tail', now.situation)}"
    warning = sentence(f"{serious}; {first}" if speaker.chance(0.5) else f"{serious}: {first}")
    sentences = [dateline(speaker, now.city, sentence(report)), warning]
    asked = {"wind": "wind", "heat": "feels", "cold": "feels"}.get(danger)
    kinds = [asked] if asked else choose_facts(speaker, "general", now)[:1]
    if kinds:
        sentences.insert(1, facts_sentence(speaker, kinds, now, units))
    return join(*sentences, sentence(second), sentence(speaker.say("advice", tag)) if speaker.chance(0.4) else "")
