"""What only the satirical newscaster does: datelines and quoted officials."""

from __future__ import annotations

from weatherman.data.synth.gazetteer import City
from weatherman.data.synth.situation import Situation
from weatherman.data.synth.speech import Speaker


def dateline(speaker: Speaker, city: City, text: str) -> str:
    """``LISBON: ...`` before the first sentence, sometimes, for the newscaster alone."""
    return text


def newsroom(speaker: Speaker, tags: Situation) -> str:
    """A quoted official or a statistic; empty for the other personas."""
    return ""
