"""True facts about weather: a topic has wordings of the question and two or three parts of an explanation."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

from weatherman.weather.dataset.voices import VOICES


@dataclass(frozen=True, slots=True)
class Topic:
    """One fact; texts hold ``[a|b]`` alternatives, parts are clauses."""

    key: str
    questions: tuple[str, ...]
    parts: tuple[str, ...]


@lru_cache(maxsize=1)
def topics() -> tuple[Topic, ...]:
    """All topics of voices/shared/lore.txt: ``= key``, then ``? question`` and ``- clause`` lines."""
    found: list[Topic] = []
    text = (VOICES / "shared" / "lore.txt").read_text(encoding="utf-8")
    for block in text.split("\n= ")[1:]:
        key, *lines = block.splitlines()
        questions = tuple(line[2:] for line in lines if line.startswith("? "))
        found.append(Topic(key.strip(), questions, tuple(line[2:] for line in lines if line.startswith("- "))))
    return tuple(found)
