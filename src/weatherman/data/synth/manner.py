"""How talkative each persona is: how often it leads in, remarks, and says goodbye."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Manner:
    """Of one persona.

    Attributes:
        openers: how often a clause that may be led in by an adverbial from the bank of openers is, from 0 to 1.
        max_openers: the most of them in a conversation.
        scenic: whether openers may speak about the weather at hand.
        remarks: how often a clause that may be followed by a remark is.
        farewells: how often an answer that may end with a farewell does.
    """

    openers: float
    max_openers: int
    scenic: bool
    remarks: float
    farewells: float


MANNERS = {
    "twain": Manner(openers=0.9, max_openers=2, scenic=True, remarks=0.85, farewells=0.7),
    "franklin": Manner(openers=0.9, max_openers=2, scenic=True, remarks=0.85, farewells=0.7),
    "satire": Manner(openers=0.9, max_openers=2, scenic=True, remarks=0.7, farewells=0.8),
    "neutral": Manner(openers=0.3, max_openers=1, scenic=False, remarks=0.2, farewells=0.3),
}
