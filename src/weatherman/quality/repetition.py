"""How much the assistant repeats itself: sentences, word 4-grams and openings, with numbers and names masked."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from weatherman.records import Conversation
from weatherman.system.fingerprint import hash_text

MAX_REPEATS = 20
SAMPLE_SIZE = 4000
_OPENING_WORDS = 5
_SENTENCE_END = re.compile(r"(?<=[.!?])(?<!\bSt\.)(?<! [A-Z]\.)\"?\s+")
_NUMBER = re.compile(r"-?\d[\d.,]*\d|-?\d")
_WORD = re.compile(r"[\w']+")
_DAY = re.compile(r"\b(?:Mon|Tues|Wednes|Thurs|Fri|Satur|Sun)day\b")
_NAME_KEYS = ("name", "region", "country")


@dataclass(frozen=True, slots=True)
class Repetition:
    """Shares and ratios, all between 0 and 1.

    Attributes:
        repeated_sentences: share of sentences whose masked form occurs more than `MAX_REPEATS` times.
        distinct_4_masked: distinct word 4-grams over all, masked, in the sample.
        distinct_4_raw: the same, unmasked.
        distinct_4_all: the same, unmasked, over everything.
        top_opening: share of answers that begin with the most frequent five words, masked.
        num_top_opening: how many those are.
        worst_sentence: the most frequent masked sentence, with its count.
        worst_opening: the most frequent opening.
    """

    repeated_sentences: float
    distinct_4_masked: float
    distinct_4_raw: float
    distinct_4_all: float
    top_opening: float
    num_top_opening: int
    worst_sentence: tuple[str, int]
    worst_opening: str


def measure_repetition(conversations: Sequence[Conversation]) -> Repetition:
    """Measure all of it.

    Args:
        conversations: the whole set; the sample is drawn from it by the hash of each conversation's first words.
    """
    sample = _sample(conversations)
    sentences, openings = masked_sentences(conversations), Counter(_openings(conversations))
    num_sentences = sum(sentences.values())
    repeated = sum(count for count in sentences.values() if count > MAX_REPEATS)
    opening, most = max(openings.items(), key=lambda item: (item[1], item[0]), default=("", 0))
    return Repetition(
        repeated_sentences=repeated / max(1, num_sentences),
        distinct_4_masked=distinct_4(mask(text, names(one)) for one in sample for text in answer_texts(one)),
        distinct_4_raw=distinct_4(text for one in sample for text in answer_texts(one)),
        distinct_4_all=distinct_4(text for one in conversations for text in answer_texts(one)),
        top_opening=most / max(1, sum(openings.values())),
        num_top_opening=most,
        worst_sentence=max(sentences.items(), key=lambda item: (item[1], item[0]), default=("", 0)),
        worst_opening=opening,
    )


def masked_sentences(conversations: Iterable[Conversation]) -> Counter[str]:
    """Masked sentences of the assistant, counted."""
    return Counter(
        sentence.lower()
        for one in conversations
        for text in answer_texts(one)
        for sentence in _SENTENCE_END.split(mask(text, names(one)))
    )


def answer_texts(conversation: Conversation) -> Iterator[str]:
    """What the assistant says in words."""
    return (m.content for m in conversation.messages if m.role == "assistant" and m.content and not m.tool_calls)


def names(conversation: Conversation) -> frozenset[str]:
    """The places that a conversation is about: what was looked up and what was found, longest first when masked."""
    found: set[str] = set(conversation.metadata.get("places", ()))
    for message in conversation.messages:
        for call in message.tool_calls:
            found |= {str(call.arguments[key]) for key in ("city", "country") if key in call.arguments}
        if message.role == "tool" and message.content and '"results"' in message.content:
            found |= _result_names(message.content)
    return frozenset(found)


def _result_names(content: str) -> set[str]:
    try:
        results = json.loads(content)["results"]
        return {str(place[key]) for place in results for key in _NAME_KEYS if key in place}
    except (ValueError, KeyError, TypeError):
        return set()


def mask(text: str, places: frozenset[str]) -> str:
    """A text with its places, numbers and weekdays masked."""
    for place in sorted(places, key=lambda name: (-len(name), name)):
        if place:
            text = re.sub(re.escape(place), "PLACE", text, flags=re.IGNORECASE)
    return _NUMBER.sub("NUM", _DAY.sub("DAY", text))


def distinct_4(texts: Iterable[str]) -> float:
    """Distinct word 4-grams over all word 4-grams."""
    seen: set[tuple[str, ...]] = set()
    num_all = 0
    for text in texts:
        words = [word.lower() for word in _WORD.findall(text)]
        grams = list(zip(*(words[start:] for start in range(4)), strict=False))
        num_all += len(grams)
        seen.update(grams)
    return len(seen) / max(1, num_all)


def _openings(conversations: Iterable[Conversation]) -> Iterator[str]:
    for one in conversations:
        for text in answer_texts(one):
            yield " ".join(_WORD.findall(mask(text, names(one)).lower())[:_OPENING_WORDS])


def _sample(conversations: Sequence[Conversation]) -> list[Conversation]:
    """A fixed choice that depends on the conversations alone, not on their order."""
    keyed = sorted(
        (hash_text(*(m.content or "" for m in one.messages)), index) for index, one in enumerate(conversations)
    )
    return [conversations[index] for _, index in keyed[:SAMPLE_SIZE]]
