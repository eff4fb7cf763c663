"""The measures that any data set can be held to, each with its goal, in the order of the table."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from weatherman.data.read import read_rows
from weatherman.errors import WeathermanError
from weatherman.quality.duplicates import NEAR, exact_duplicates, nearest_across
from weatherman.quality.metric import Metric, judged, some, unknown
from weatherman.quality.tokens import MAX_TOKENS, STEP_EXAMPLES, mistral_tokenizer, render_set, step_tokens
from weatherman.records import Conversation
from weatherman.rendering.rough_tokenizer import RoughTokenizer
from weatherman.rendering.templates import MISTRAL_V3, SMOLLM2

_NUM_PAIRS = 20
MAX_BYTES = 45_000_000
_CALL_ID = re.compile(r"[A-Za-z0-9]{9}")


@dataclass
class DataSet:
    """Conversations of both sides, where the files are, and the problems of the rows that are not among them."""

    files: list[Path]
    train: list[Conversation] = field(default_factory=list)
    validation: list[Conversation] = field(default_factory=list)
    num_rows: int = 0
    problems: list[WeathermanError] = field(default_factory=list)

    @property
    def all(self) -> list[Conversation]:
        """Both sides."""
        return self.train + self.validation

    @property
    def is_ours(self) -> bool:
        """Whether the rows carry what the builder writes beside the messages: persona, scenario, split group."""
        return all({"persona", "scenario", "split_group"} <= set(one.metadata) for one in self.all)


def load(train: Path, validation: Path | None) -> DataSet:
    """Read the files; rows that are not valid are counted, and named, not kept.

    Raises:
        WeathermanError: a file cannot be read at all.
    """
    data = DataSet([train, *([validation] if validation else [])])
    for path, side in ((train, data.train), (validation, data.validation)):
        if path is None:
            continue
        for conversation, problems in read_rows(path):
            data.num_rows += bool(conversation or problems)
            data.problems += problems
            if conversation:
                side.append(conversation)
    return data


def measure(data: DataSet, seed: int = 42) -> Iterator[Metric]:
    """Take every measure that needs no knowledge of where the data comes from.

    Args:
        data: what was loaded.
        seed: decides which examples meet in the steps whose shared tokens are counted.

    Yields:
        The measures, one by one, as they are ready.
    """
    yield from form(data)
    yield from lengths(data, seed)
    yield from sameness(data)


def form(data: DataSet) -> Iterator[Metric]:
    """Schemas, roles, ids; sizes."""
    yield Metric("conversations", len(data.all))
    shown = some([str(problem) for problem in data.problems])
    yield judged("schema-valid", _share(len(data.all), data.num_rows), "100 %", ok=not data.problems, detail=shown)
    ids = [call.id for one in data.all for message in one.messages for call in message.tool_calls]
    odd = sum(not _CALL_ID.fullmatch(id_) for id_ in ids)
    if data.is_ours:
        yield judged("call-ids-9-alphanumeric", _share(len(ids) - odd, len(ids)), "100 %", ok=not odd)
        size = sum(path.stat().st_size for path in data.files)
        yield judged("megabytes", round(size / 1e6, 2), f"< {MAX_BYTES / 1e6:g}", ok=size < MAX_BYTES)


def lengths(data: DataSet, seed: int) -> Iterator[Metric]:
    """Both templates, the token limit, the shared prefix."""
    if not data.all:
        return
    rough = render_set(data.all, SMOLLM2, RoughTokenizer())
    yield judged(
        "renders-smollm2", len(rough.problems), "0 problems", ok=not rough.problems, detail=some(rough.problems)
    )
    limit = f"<= {MAX_TOKENS:,}"
    try:
        tokenizer = mistral_tokenizer()
    except WeathermanError as problem:
        rough = render_set(data.all, MISTRAL_V3, RoughTokenizer())
        yield judged("renders-mistral", len(rough.problems), "0 problems", ok=not rough.problems)
        yield unknown("longest-mistral-tokens", limit, f"cannot know: {problem}")
        return
    real = render_set(data.all, MISTRAL_V3, tokenizer)
    yield judged("renders-mistral", len(real.problems), "0 problems", ok=not real.problems, detail=some(real.problems))
    longest = max(real.lengths, default=0)
    over = sum(length > MAX_TOKENS for length in real.lengths)
    told = f"{over:,} over {MAX_TOKENS:,}" if over else ""
    if data.is_ours:
        yield judged("longest-mistral-tokens", longest, limit, ok=not over, detail=told)
    else:
        yield Metric("longest-mistral-tokens", longest, detail=told)
    yield Metric("mean-mistral-tokens", round(sum(real.lengths) / max(1, len(real.lengths)), 1))
    before, after = step_tokens(real.examples[: _num_train_views(data, real.examples)], seed)
    told = f"{before:,.0f} -> {after:,.0f} tokens in a step of {STEP_EXAMPLES}"
    yield Metric("prefix-sharing-factor", round(before / max(1.0, after), 3), detail=told)


def _num_train_views(data: DataSet, examples: Sequence[object]) -> int:
    """How many of the rendered examples belong to the training file, which stands first."""
    if not data.validation:
        return len(examples)
    held_out = {one.source for one in data.validation} - {one.source for one in data.train}
    return next((n for n, view in enumerate(examples) if getattr(view, "source", "") in held_out), len(examples))


def sameness(data: DataSet) -> Iterator[Metric]:
    """Duplicates, exact and near."""
    exact = exact_duplicates(data.all)
    yield judged("exact-duplicates", len(exact), "0", ok=not exact, detail=_pairs(exact, "says what", " says"))
    if data.validation and data.train:
        near = nearest_across(data.train, data.validation)
        detail = f"nearest {near.similarity:.2f}: {' and '.join(near.pair)}"
        if len(near.near) > 1:
            detail += f"; {_pairs(near.near, 'is like')}"
        goal = f"0 with Jaccard >= {NEAR:g} of masked word 5-grams"
        yield judged("near-duplicates-across", len(near.near), goal, ok=not near.near, detail=detail)


def _pairs(pairs: Sequence[tuple[str, str]], verb: str, end: str = "") -> str:
    """Both rows of each pair, by file and line; the first twenty."""
    more = f"; and {len(pairs) - _NUM_PAIRS:,} more" if len(pairs) > _NUM_PAIRS else ""
    return "; ".join(f"{one} {verb} {other}{end}" for one, other in pairs[:_NUM_PAIRS]) + more


def _share(part: int, whole: int) -> str:
    return f"{100 * part / whole:.4g} %" if whole else "0 of 0"
