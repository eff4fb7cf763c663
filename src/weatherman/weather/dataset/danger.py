"""Weather that can hurt, and the answer to it: the verdict first, then the facts, then sound advice."""

from __future__ import annotations

from weatherman.weather.dataset.answers_now import Now, choose_facts, headed, report_with
from weatherman.weather.dataset.satire import dateline
from weatherman.weather.dataset.situation import Situation
from weatherman.weather.dataset.speech import Speaker, join, sentence
from weatherman.weather.dataset.units import Units


def safety_answer(speaker: Speaker, now: Now, units: Units, danger: str, *, asked: bool) -> str:
    """The weather, a turn to earnest, and two pieces of correct advice.

    Args:
        speaker: the persona.
        now: place and weather.
        units: how numbers are written.
        danger: what can hurt.
        asked: the user asked whether something may be done, which is answered no.
    """
    tag = Situation(frozenset({danger}), now.situation.times)
    first = speaker.plainly("safety", f"{danger}-first")
    second = speaker.plainly("safety", danger)
    facts = choose_facts(speaker, {"wind": "wind"}.get(danger, "general"), now)
    report, more = report_with(speaker, facts, now, units)
    sentences = [
        headed(speaker, speaker.plainly("verdict", f"unsafe-{danger}"), report) if asked else sentence(report),
        more,
        sentence(f"{speaker.say('safety', tag)}: {first}"),
        sentence(second),
    ]
    return dateline(speaker, now.city, join(*sentences))
