"""Write the data set: slots to conversations to two files, each conversation a function of (seed, index) alone."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
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


def write_conversation(slot: Slot, seed: int) -> dict[str, Any]:
    """One row of the data set."""
    rng = Random(f"{seed}:{slot.index}")
    chat = Chat(rng)
    chat.system(rng.choice(wordings(slot.persona)))
    units = Units(decimals=1 if rng.random() < 0.3 else 0)
    scene = Scene(slot, seed, rng, chat, Speaker(slot.persona, rng), units)
    group = WRITERS[slot.scenario](scene)
    metadata: dict[str, Any] = {
        "id": f"wx-{slot.index:06d}", "persona": slot.persona, "scenario": slot.scenario, "split_group": group,
    }  # fmt: skip
    if asides := scene.speaker.asides:
        metadata["asides"] = asides
    return {"messages": chat.messages, "tools": list(WEATHER_TOOLS), "metadata": metadata}


def rows(slots: Iterable[Slot], seed: int) -> Iterator[tuple[Slot, str]]:
    """Slots with their line of JSON."""
    for slot in slots:
        yield slot, compact(write_conversation(slot, seed))


def build(num_examples: int, seed: int, folder: Path, personas: Sequence[str] = PERSONAS) -> None:
    """Write final_train.jsonl and final_validation.jsonl."""
    folder.mkdir(parents=True, exist_ok=True)
    with (
        (folder / "final_train.jsonl").open("w", encoding="utf-8", newline="\n") as train,
        (folder / "final_validation.jsonl").open("w", encoding="utf-8", newline="\n") as validation,
    ):
        for slot, line in rows(plan_slots(num_examples, seed, personas), seed):
            (validation if slot.held_out else train).write(line + "\n")
