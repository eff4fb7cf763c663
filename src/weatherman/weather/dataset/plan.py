"""What each of the N conversations is: persona, scenario and side, fixed by the seed before any text is written."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from random import Random

from weatherman.weather.dataset.split import apportion
from weatherman.weather.dataset.voices import PERSONAS

PERSONA_SHARES = {"twain": 44.3, "franklin": 15.4, "satire": 9.4, "neutral": 31.0}
SCENARIO_SHARES = {
    "current": 18, "forecast": 14, "compare": 9, "chain": 8, "follow_up": 7, "no_tool": 7, "parallel": 6,
    "ambiguous": 5, "tool_failure": 5, "units": 5, "unsafe": 5, "correction": 4, "out_of_range": 4, "off_topic": 3,
}  # fmt: skip
VALIDATION_SHARE = 1601 / 16000


@dataclass(frozen=True, slots=True)
class Slot:
    """One conversation to be written."""

    index: int
    persona: str
    scenario: str
    held_out: bool


def plan_slots(num_examples: int, seed: int, personas: Sequence[str] = PERSONAS) -> list[Slot]:
    """The slots of a data set, in the order of its conversations.

    Args:
        num_examples: how many.
        seed: fixes the order.
        personas: which voices, in their usual proportions to each other.
    """
    cells = []
    for persona, count in zip(personas, apportion(num_examples, [PERSONA_SHARES[p] for p in personas]), strict=True):
        per_scenario = apportion(count, list(SCENARIO_SHARES.values()))
        cells += [(persona, scenario, n) for scenario, n in zip(SCENARIO_SHARES, per_scenario, strict=True)]
    held_out = apportion(round(num_examples * VALIDATION_SHARE), [n for *_, n in cells])
    kinds = [
        (persona, scenario, place < num_held_out)
        for (persona, scenario, count), num_held_out in zip(cells, held_out, strict=True)
        for place in range(count)
    ]
    Random(f"{seed}:plan").shuffle(kinds)
    return [Slot(index, *kind) for index, kind in enumerate(kinds)]
