"""A speaker: draws fragments of one persona without repeating itself, and joins clauses into sentences."""

from __future__ import annotations

import re
from functools import cache
from random import Random

from weatherman.errors import WeathermanError
from weatherman.weather.dataset.manner import MANNERS
from weatherman.weather.dataset.situation import ANYWHERE, Situation
from weatherman.weather.dataset.voices import VOICES, Fragment, expand, fitting

_NUM_CANDIDATES = 4
_VOWEL_NUMBER = re.compile(r"\b([Aa]) (?=(?:8\d?|11|18)(?:\.\d)? )")
_CONTENT_WORD = re.compile(
    r"\b(?!(?:that|this|with|from|have|will|what|when|which|would|could|there|their|them|than|then|your|into|over|been|"
    r"they|were|some|more|much|only|just|does|down|about|after|before|upon|where|weather|place|here)\b)[a-z]{4,}"
)


class Speaker:
    """One persona in one conversation.

    Args:
        persona: whose banks to draw from.
        rng: the conversation's generator.

    Attributes:
        manner: how talkative it is.
        asides: clauses said whose numbers are not weather.
        slots: the banks that something was drawn from.
    """

    def __init__(self, persona: str, rng: Random) -> None:
        self.persona = persona
        self.rng = rng
        self.manner = MANNERS[persona]
        self.asides: list[str] = []
        self.slots: set[str] = set()
        self._used: set[Fragment] = set()
        self._said: set[str] = set()

    def say(self, slot: str, situation: Situation = ANYWHERE, /, **values: str) -> str:
        """A fragment of `slot` that fits, filled in; of several candidates the one that repeats the fewest words.

        Raises:
            WeathermanError: the bank has nothing to say about this situation.
        """
        return self.draw(self.persona, slot, situation, **values)

    def draw(self, owner: str, slot: str, situation: Situation = ANYWHERE, /, **values: str) -> str:
        """As `say`, from the bank of another owner (the shared banks are owned by "shared")."""
        choices = fitting(owner, slot, situation)
        if not choices:
            raise WeathermanError("voices.nothing-fits", f"{owner}/{slot} has nothing for {sorted(situation.weather)}.")
        candidates = [self.rng.choice(choices) for _ in range(_NUM_CANDIDATES)]
        fresh = [fragment for fragment in candidates if fragment not in self._used] or candidates[:1]
        fragment = min(fresh, key=self._overlap)
        self.slots.add(slot)
        self._used.add(fragment)
        self._said |= _content_words(fragment.text)
        return fill(expand(self.rng, fragment.text), values)

    def tell(self, slot: str, situation: Situation = ANYWHERE, /, **values: str) -> str:
        """As `say`, as a sentence."""
        return sentence(self.say(slot, situation, **values))

    def plainly(self, slot: str, tag: str, /, **values: str) -> str:
        """A clause of a shared bank, which all personas say alike: verdicts, comparisons, what days bring."""
        return self.draw("shared", slot, Situation(frozenset({tag})), **values)

    def has(self, slot: str) -> bool:
        """Whether the persona has such a bank."""
        return (VOICES / self.persona / f"{slot}.txt").is_file()

    def chance(self, probability: float) -> bool:
        """A weighted coin."""
        return self.rng.random() < probability

    def _overlap(self, fragment: Fragment) -> int:
        return len(_content_words(fragment.text) & self._said)


@cache
def _content_words(text: str) -> frozenset[str]:
    return frozenset(_CONTENT_WORD.findall(text.lower()))


def fill(text: str, values: dict[str, str]) -> str:
    """Put values for the ``{names}`` of a fragment: ``an 80 % chance``, ``a 70 % chance``."""
    for name, value in values.items():
        text = text.replace("{" + name + "}", value)
    return _VOWEL_NUMBER.sub(r"\1n ", text)


def sentence(text: str, end: str = ".") -> str:
    """Capitalise a clause and end it; a clause that ends itself is left alone."""
    text = text.strip()
    first = next((index for index, char in enumerate(text) if char.isalnum()), 0)
    if text[first].isalpha() and not text[:first].strip("\"'("):
        text = text[:first] + text[first].upper() + text[first + 1 :]
    return text if text.endswith((".", "?", "!", '."', '?"', '!"')) else text + end


def join(*sentences: str) -> str:
    """Sentences to an answer."""
    return " ".join(text for text in sentences if text)
