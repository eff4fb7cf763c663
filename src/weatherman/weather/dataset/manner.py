"""How talkative each persona is: how often a report has a tail, and an answer a remark at its end."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Manner:
    """Of one persona, each from 0 to 1.

    Attributes:
        tails: how often a report goes on with a tail.
        remarks: how often an answer ends with a remark rather than with the last fact or with advice.
        lore: how often the explanation of a weather fact is led in or followed by words of its own.
        advice: how often advice is given where there is room for it.
    """

    tails: float
    remarks: float
    lore: float
    advice: float


MANNERS = {
    "twain": Manner(tails=0.8, remarks=0.9, lore=0.85, advice=1.0),
    "franklin": Manner(tails=0.75, remarks=0.9, lore=0.85, advice=1.0),
    "satire": Manner(tails=0.7, remarks=0.95, lore=0.9, advice=1.0),
    "neutral": Manner(tails=0.35, remarks=0.15, lore=0.0, advice=0.35),
}
