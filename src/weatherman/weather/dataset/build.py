"""Write the data set: slots to conversations to two files; the seed alone decides every byte, no clock or machine."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from random import Random
from typing import Any

from weatherman.tools.source import compact
from weatherman.weather.dataset.chat import Chat
from weatherman.weather.dataset.personas import wordings
from weatherman.weather.dataset.plan import Slot, plan_slots
from weatherman.weather.dataset.scenarios.writers import WRITERS
from weatherman.weather.dataset.scene import Scene
from weatherman.weather.dataset.speech import Speaker
from weatherman.weather.dataset.units import Units
from weatherman.weather.dataset.voices import PERSONAS
from weatherman.weather.tools import WEATHER_TOOLS

BUILDER_VERSION = 1
FILES = ("final_train.jsonl", "final_validation.jsonl")
_MAX_DRAFTS = 24
_OPENING_WORDS = 5
_FEW_OPENINGS, _MAX_OPENINGS, _ROWS_PER_OPENING = 3, 60, 250
_NUMBER = re.compile(r"-?\d[\d.,]*")
_WEATHER = re.compile(r'^\{"(?:temperature_c|columns)"')
_MAX_TOKENS = 1024 - 40  # what the estimate may be short of
_WORD, _LETTERS, _DIGIT = re.compile(r"[^\W\d_]+|\d|[^\w\s]"), re.compile(r"[^\W\d_]{1,4}"), re.compile(r"\d")


def drafts(slot: Slot, seed: int) -> Iterator[dict[str, Any]]:
    """Versions of one row that are short enough; if none is, the shortest. The first that says something new counts."""
    long: list[dict[str, Any]] = []
    for draft in range(_MAX_DRAFTS):
        row = _draft(slot, seed, Random(f"{seed}:{slot.index}:{draft}"))
        if estimate_tokens(row) <= _MAX_TOKENS:
            yield row
        else:
            long.append(row)
    if len(long) == _MAX_DRAFTS:
        yield min(long, key=estimate_tokens)


def signature(row: dict[str, Any]) -> str:
    """What no two rows may share: everything said, or where no weather is told, how the last two sentences begin."""
    said = [message["content"] or "" for message in row["messages"][1:]]
    about = row["metadata"]
    explained = about["scenario"] == "no_tool" and "smalltalk" not in about["split_group"]
    if explained or any(_WEATHER.search(text) for text in said):
        return "\n".join(said)
    answer = said[-1]
    for call in (call for message in row["messages"] for call in message.get("tool_calls", ())):
        answer = answer.replace(json.loads(call["function"]["arguments"]).get("city", "\n"), "")
    return "\n".join(" ".join(told.split()[:_OPENING_WORDS]) for told in re.split(r"(?<=[.!?]) ", answer)[-2:])


def estimate_tokens(row: dict[str, Any]) -> float:
    """About how many tokens Mistral's tokenizer makes of a row: a fit to some thousand rows, off by 9 on average."""
    said = [message["content"] or "" for message in row["messages"]]
    results = " ".join(text for text in said if text.startswith("{"))
    calls = [call for message in row["messages"] for call in message.get("tool_calls", ())]
    data = f"{results} {' '.join(call['function']['arguments'] for call in calls)}"
    num_words = sum(len(_WORD.findall(text)) for text in said if not text.startswith("{"))
    num_letters, num_digits = len(_LETTERS.findall(data)), len(_DIGIT.findall(data))
    return 264 + 1.207 * num_words + 1.531 * num_letters + 2.338 * num_digits + 46.9 * len(calls)


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


def openings(row: dict[str, Any], role: str = "assistant") -> list[str]:
    """How the answers begin, or the questions of the "user": their first words, with places and numbers left out."""
    calls = [json.loads(call["function"]["arguments"]) for one in row["messages"] for call in one.get("tool_calls", ())]
    places = {call["city"] for call in calls if "city" in call} | set(row["metadata"].get("places", ()))
    begun = []
    for message in row["messages"]:
        if message["role"] == role and message["content"]:
            text = message["content"]
            for place in sorted(places, key=len, reverse=True):
                text = text.replace(place, "place")
            begun.append(" ".join(_NUMBER.sub("0", text).lower().split()[:_OPENING_WORDS]))
    return begun


def rows(slots: Iterable[Slot], seed: int, max_openings: int = _MAX_OPENINGS) -> Iterator[tuple[Slot, str]]:
    """Slots with their line of JSON: of its drafts the first that says and begins nothing that others have worn out.

    Args:
        slots: the conversations to write.
        seed: the same seed gives the same bytes.
        max_openings: how many answers may begin alike.
    """
    seen: set[str] = set()
    begun: Counter[str] = Counter()
    for slot in slots:
        tried = (_Draft.of(row) for row in drafts(slot, seed))
        first = next(tried)
        draft = next((one for one in chain([first], tried) if one.is_new(seen, begun, max_openings)), first)
        seen |= draft.marks
        begun.update(draft.begins)
        yield slot, compact(draft.row)


@dataclass(frozen=True, slots=True)
class _Draft:
    """A row, the marks that no other row may have, and how its answers begin."""

    row: dict[str, Any]
    marks: frozenset[str]
    begins: list[str]

    @classmethod
    def of(cls, row: dict[str, Any]) -> _Draft:
        begins = openings(row)
        return cls(row, frozenset([signature(row), "\n".join([*openings(row, "user"), *begins])]), begins)

    def is_new(self, seen: set[str], begun: Counter[str], max_openings: int) -> bool:
        """Whether it says and begins nothing that others have worn out."""
        return not self.marks & seen and all(begun[begin] < max_openings for begin in self.begins)


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
    max_openings = min(_MAX_OPENINGS, max(_FEW_OPENINGS, num_examples // _ROWS_PER_OPENING))
    staged = [folder / f".{name}.partial" for name in FILES]
    with (
        staged[0].open("w", encoding="utf-8", newline="\n") as train,
        staged[1].open("w", encoding="utf-8", newline="\n") as validation,
    ):
        for slot, line in rows(progress(plan_slots(num_examples, seed, personas)), seed, max_openings):
            (validation if slot.held_out else train).write(line + "\n")
    for path, name in zip(staged, FILES, strict=True):
        path.replace(folder / name)
