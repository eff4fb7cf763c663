"""What only the satirical newscaster does: datelines, quoted officials and statistics about trifles."""

from __future__ import annotations

from weatherman.weather.dataset.gazetteer import City
from weatherman.weather.dataset.situation import Situation
from weatherman.weather.dataset.speech import Speaker, sentence

PERSONA = "satire"
_DATELINE_SHARE = 0.4
_SAID = ("said", "said", "said", "explained", "conceded", "announced", "insisted", "noted", "maintained", "confirmed")
_TOLD = ("told reporters", "told this newsroom", "said in a statement", "told a half-empty briefing room", "said")


def dateline(speaker: Speaker, city: City, answer: str) -> str:
    """``LISBON — ...`` before an answer, sometimes, for the newscaster alone."""
    if speaker.persona != PERSONA or not speaker.chance(_DATELINE_SHARE):
        return answer
    return f"{city.name.upper()} — {sentence(answer.removeprefix(f'In {city.name}, '))}"


def newsroom(speaker: Speaker, tags: Situation) -> str:
    """A quoted official or a statistic, or nothing; always nothing for the other personas."""
    if speaker.persona != PERSONA:
        return ""
    form = speaker.rng.choices(("quotation", "statistic", "both", ""), (46, 20, 14, 20))[0]
    if form == "quotation":
        return quotation(speaker, tags)
    if form == "statistic":
        return statistic(speaker, tags)
    return f"{quotation(speaker, tags)} {statistic(speaker, tags)}" if form else ""


def quotation(speaker: Speaker, tags: Situation) -> str:
    """What an unnamed official says, with the comma, full stop and capitals where American print has them."""
    rng, official, quote = speaker.rng, speaker.say("official", tags), speaker.say("quote", tags)
    if rng.random() < 0.5:
        return sentence(f'"{sentence(quote, ",")}" {rng.choice(_SAID)} {official}')
    return sentence(f'{official} {rng.choice(_TOLD)}, "{sentence(quote)}"')


def statistic(speaker: Speaker, tags: Situation) -> str:
    """A figure about a trifle, noted as an aside so that nobody takes it for weather."""
    clause = speaker.say("statistic", tags)
    speaker.asides.append(clause)
    return sentence(clause)
