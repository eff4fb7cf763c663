"""Load the banks of fragments: weather/voices/<persona>/<slot>.txt, one ``tags | text`` a line."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from random import Random

from weatherman.errors import WeathermanError
from weatherman.weather.dataset.situation import Situation

VOICES = Path(__file__).parent.parent / "voices"
PERSONAS = ("twain", "franklin", "satire", "neutral")
_ENOUGH = 8
_BOUND = ("comment", "tail", "advice", "quote", "forecast_end")
_CHOICE = re.compile(r"\[([^\[\]]*)\]")


@dataclass(frozen=True, slots=True)
class Fragment:
    """A piece of a sentence: the situations it may speak about, and its text with ``[a|b]`` alternatives."""

    tags: tuple[str, ...]
    text: str

    def fits(self, situation: Situation) -> bool:
        """Whether any of its tags holds."""
        return any(situation.allows(tag) for tag in self.tags)


def expand(rng: Random, text: str) -> str:
    """Choose one of each ``[a|b]``, innermost first."""
    while "[" in text:
        chosen = _CHOICE.sub(lambda match: rng.choice(match[1].split("|")), text)
        if chosen == text:
            raise WeathermanError("voices.bad-choice", f"unbalanced [ ] in {text!r}.")
        text = chosen
    return text


def read_bank(path: Path) -> tuple[Fragment, ...]:
    """Read one file of fragments.

    Raises:
        WeathermanError: the file is missing, or a line has no tags.
    """
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except OSError as problem:
        raise WeathermanError("voices.missing", f"there is no fragment file {path}.") from problem
    fragments = []
    for number, line in enumerate(lines, 1):
        if not line.strip() or line.startswith("#"):
            continue
        tags, bar, text = line.partition("|")
        if not bar or not tags.strip() or not text.strip():
            raise WeathermanError("voices.bad-line", f"{path.name}:{number}: expected `tags | text`.")
        fragments.append(Fragment(tuple(tags.split()), text.strip()))
    return tuple(fragments)


@cache
def bank(persona: str, slot: str) -> tuple[Fragment, ...]:
    """The fragments of one slot of a persona."""
    return read_bank(VOICES / persona / f"{slot}.txt")


@cache
def fitting(persona: str, slot: str, situation: Situation) -> tuple[Fragment, ...]:
    """The fragments of a slot that may be said in a situation.

    Where there are enough about this very weather, remarks and advice are drawn from those alone; elsewhere the ones
    about this weather count six times.
    """
    found = tuple(fragment for fragment in bank(persona, slot) if fragment.fits(situation))
    special = tuple(fragment for fragment in found if not any(tag.split("+")[0] == "any" for tag in fragment.tags))
    if len(special) >= _ENOUGH and slot in _BOUND:
        return special
    return found + 5 * special
