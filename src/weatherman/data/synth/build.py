"""Write the data set: slots to conversations to two files, each conversation a function of (seed, index) alone."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from random import Random
from typing import Any

from weatherman.data.synth.chat import Chat, compact
from weatherman.data.synth.personas import wordings
from weatherman.data.synth.plan import Slot, plan_slots
from weatherman.data.synth.scenarios import WRITERS
from weatherman.data.synth.scene import Scene
from weatherman.data.synth.speech import Speaker
from weatherman.data.synth.units import Units
from weatherman.data.synth.voices import PERSONAS
from weatherman.data.tools import WEATHER_TOOLS

BUILDER_VERSION = 1
FILES = ("final_train.jsonl", "final_validation.jsonl")
_MAX_DRAFTS, _MAX_TOKENS = 20, 1024
_TOOL_TOKENS, _TOKENS_PER_PIECE = 268, 0.74
_PIECE = re.compile(r"[^\W\d_]{1,5}|\d|[^\w\s]")


def write_conversation(slot: Slot, seed: int) -> dict[str, Any]:
    """One row of the data set; the first draft that is short enough."""
    for draft in range(_MAX_DRAFTS):
        row = _draft(slot, seed, Random(f"{seed}:{slot.index}:{draft}"))
        if estimate_tokens(row) <= _MAX_TOKENS:
            break
    return row


def estimate_tokens(row: dict[str, Any]) -> float:
    """About how many tokens a conversation has for Mistral: from above, within a tenth, for the long ones."""
    return _TOOL_TOKENS + _TOKENS_PER_PIECE * len(_PIECE.findall(compact(row["messages"])))


def _draft(slot: Slot, seed: int, rng: Random) -> dict[str, Any]:
    chat = Chat(rng)
    chat.system(rng.choice(wordings(slot.persona)))
    units = Units(decimals=1 if rng.random() < 0.3 else 0)
    scene = Scene(slot, seed, rng, chat, Speaker(slot.persona, rng), units)
    group = WRITERS[slot.scenario](scene)
    metadata: dict[str, Any] = {
        "id": f"wx-{slot.index:06d}", "persona": slot.persona, "scenario": slot.scenario, "split_group": group,
    }  # fmt: skip
    if chat.places:
        metadata["places"] = chat.places
    if asides := scene.speaker.asides:
        metadata["asides"] = asides
    return {"messages": chat.messages, "tools": list(WEATHER_TOOLS), "metadata": metadata}


def rows(slots: Iterable[Slot], seed: int) -> Iterator[tuple[Slot, str]]:
    """Slots with their line of JSON."""
    for slot in slots:
        yield slot, compact(write_conversation(slot, seed))


def build(
    num_examples: int,
    seed: int,
    folder: Path,
    personas: Sequence[str] = PERSONAS,
    progress: Callable[[Sequence[Slot]], Iterable[Slot]] = iter,
) -> None:
    """Write final_train.jsonl and final_validation.jsonl; neither is replaced before both are whole.

    Args:
        num_examples: how many conversations.
        seed: the same seed gives the same bytes.
        folder: where to.
        personas: which voices.
        progress: goes through the slots and shows how far it is.
    """
    folder.mkdir(parents=True, exist_ok=True)
    staged = [folder / f".{name}.partial" for name in FILES]
    with (
        staged[0].open("w", encoding="utf-8", newline="\n") as train,
        staged[1].open("w", encoding="utf-8", newline="\n") as validation,
    ):
        for slot, line in rows(progress(plan_slots(num_examples, seed, personas)), seed):
            (validation if slot.held_out else train).write(line + "\n")
    for path, name in zip(staged, FILES, strict=True):
        path.replace(folder / name)
