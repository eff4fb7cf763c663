"""What a reader changes so that a row can be trained on, by kind: counted, so that nothing is changed unseen."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping

LEFT_OUT = "key-left-out"
_MAX_KEY_CHARS = 40
_WORDS = {
    "turns-trimmed": "turns after the last answer trimmed",
    "system-merged": "system messages merged into one",
    "system-key": "system prompts taken from beside the messages",
    "ids-given": "call ids given by order",
    "ids-respelled": "call ids spelled with nine letters and digits",
    "results-respelled": "tool results' numbers and characters spelled anew",
    "results-as-json": "tool results that were objects written as JSON",
    "arguments-respelled": "arguments' whole numbers written without a fraction",
    "arguments-decoded": "arguments decoded more than once",
    "null-padding": "null padding removed",
    "tools-key": "tools taken from another key",
    "tools-text": "lists written as JSON text decoded",
    "tools-wrapped": "flat tools wrapped",
    "tools-from-calls": "tools declared from their calls",
    "tools-from-prompt": "tools taken out of the system prompt",
    "tools-from-file": "rows given the tools of the tools file",
    "parameters-wrapped": "bare parameters wrapped in a schema",
    "types-renamed": "types of parameters renamed",
    "text-beside-calls": "texts beside calls dropped",
}


class Changes(Counter[str]):
    """How often each kind of change was made; a key that was left out is a kind of its own, with its name."""

    def add(self, kind: str, count: int = 1) -> None:
        """Count changes of a kind; nothing is noted of none."""
        if count:
            self[kind] += count

    def leave_out(self, key: str) -> None:
        """Count a key that is not read."""
        self[f"{LEFT_OUT} {key[:_MAX_KEY_CHARS]}"] += 1

    def in_words(self) -> list[str]:
        """One phrase a kind, the most frequent first."""
        return [f"{self[kind]:,} × {words_of(kind)}" for kind, _ in self.most_common()]


def words_of(kind: str) -> str:
    """A kind of change in words."""
    if kind.startswith(LEFT_OUT):
        return f"key left out: {kind.removeprefix(LEFT_OUT).strip()}"
    return _WORDS[kind]


def as_json(changes: Mapping[str, int]) -> dict[str, int]:
    """For machines: counts by kind, in the order of their names."""
    return {kind: changes[kind] for kind in sorted(changes)}
