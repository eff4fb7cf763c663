"""Conversations that are the same, or nearly, and groups that are on both sides of the split."""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from weatherman.quality.repetition import mask, names
from weatherman.records import Conversation
from weatherman.system.fingerprint import hash_text

NEAR = 0.6
_SHINGLE_WORDS = 5
_WORD = re.compile(r"[\w']+")


@dataclass(frozen=True, slots=True)
class Nearest:
    """The two conversations of different sides that are most alike, and the pairs that reach `NEAR`."""

    similarity: float
    pair: tuple[str, str]
    near: tuple[tuple[str, str], ...]


def exact_duplicates(conversations: Sequence[Conversation]) -> list[tuple[str, str]]:
    """The conversations that say what an earlier one said: all messages and arguments alike, call ids aside.

    Returns:
        For each its source (file and line) and the source of the first that said the same.
    """
    first: dict[str, str] = {}
    found = []
    for one in conversations:
        key = hash_text(*_spoken(one))
        if key in first:
            found.append((one.source, first[key]))
        else:
            first[key] = one.source
    return found


def _spoken(conversation: Conversation) -> Iterator[str]:
    for message in conversation.messages:
        yield f"{message.role}: {message.content}"
        for call in message.tool_calls:
            yield f"{call.name} {sorted(call.arguments.items())}"


def nearest_across(train: Sequence[Conversation], validation: Sequence[Conversation]) -> Nearest:
    """Compare each held-out conversation with every training one: Jaccard similarity of masked word 5-grams, exactly.

    Args:
        train: one side.
        validation: the other.
    """
    held = [_shingles(one) for one in validation]
    index: dict[int, list[int]] = defaultdict(list)
    for number, shingles in enumerate(held):
        for shingle in shingles:
            index[shingle].append(number)
    best, pair = 0.0, ("", "")
    near: list[tuple[str, str]] = []
    for one in train:
        mine = _shingles(one)
        shared = Counter(number for shingle in mine for number in index.get(shingle, ()))
        for number, common in shared.items():
            similarity = common / (len(mine) + len(held[number]) - common)
            if similarity >= NEAR:
                near.append((one.source, validation[number].source))
            if similarity > best:
                best, pair = similarity, (one.source, validation[number].source)
    return Nearest(best, pair, tuple(near))


def _shingles(conversation: Conversation) -> frozenset[int]:
    """Hashes of the masked word 5-grams of what user and assistant say."""
    places = names(conversation)
    found: set[int] = set()
    for message in conversation.messages:
        if message.role in ("user", "assistant") and message.content:
            words = _WORD.findall(mask(message.content, places).lower())
            size = min(_SHINGLE_WORDS, len(words))
            found |= {hash(tuple(words[i : i + size])) for i in range(len(words) - size + 1)}
    return frozenset(found)


def shared_groups(train: Sequence[Conversation], validation: Sequence[Conversation]) -> list[str]:
    """Split groups that are on both sides, and places of a scenario that are."""
    sides = [{_key(one) for one in side} for side in (train, validation)]
    places = [{key for one in side for key in _place_keys(one)} for side in (train, validation)]
    return sorted((sides[0] & sides[1]) | (places[0] & places[1]))


def _key(conversation: Conversation) -> str:
    return str(conversation.metadata.get("split_group", ""))


def _place_keys(conversation: Conversation) -> Iterator[str]:
    """``scenario/place`` of each place of a group such as ``compare/lima-peru+oslo-norway``."""
    scenario, _, rest = _key(conversation).partition("/")
    return (f"{scenario}/{place}" for place in rest.split("+"))
