"""Every measure of a data set with its goal, in the order of the table."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from weatherman.data.check.duplicates import NEAR, count_exact, nearest_across, shared_groups
from weatherman.data.check.metric import Metric, judged, unknown
from weatherman.data.check.numbers import contradictions
from weatherman.data.check.repetition import MAX_REPEATS, SAMPLE_SIZE, measure_repetition
from weatherman.data.check.tokens import MAX_TOKENS, STEP_EXAMPLES, mistral_tokenizer, render_set, step_tokens
from weatherman.data.read import read_rows
from weatherman.data.split import apportion
from weatherman.data.synth.plan import PERSONA_SHARES, SCENARIO_SHARES
from weatherman.data.synth.voices import PERSONAS
from weatherman.errors import WeathermanError
from weatherman.records import Conversation
from weatherman.rough_tokenizer import RoughTokenizer
from weatherman.template import MISTRAL_V3, SMOLLM2

MAX_BYTES = 45_000_000
MAX_REPEATED_SHARE, MIN_DISTINCT_4, MAX_OPENING_SHARE = 0.03, 0.25, 0.005
_SHARE_TOLERANCE = 0.002
_CALL_ID = re.compile(r"[A-Za-z0-9]{9}")
_NUM_SHOWN = 3
_FEW = 3  # so often may even a small set begin alike, and be apart from its shares by rounding for each persona


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
    """Take every measure that fits the data; the ones about the builder's promises only for its own data.

    Args:
        data: what was loaded.
        seed: decides which examples meet in the steps whose shared tokens are counted.

    Yields:
        The measures, one by one, as they are ready.
    """
    yield from form(data)
    yield from lengths(data, seed)
    yield from sameness(data)
    if data.is_ours and data.all:
        yield from split(data)
        yield from repetition(data)
        yield faithful(data)
        yield from mix(data)


def form(data: DataSet) -> Iterator[Metric]:
    """Schemas, roles, ids; sizes."""
    yield Metric("conversations", len(data.all))
    shown = "; ".join(str(problem) for problem in data.problems[:_NUM_SHOWN])
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
        "renders-smollm2", len(rough.problems), "0 problems", ok=not rough.problems, detail=_some(rough.problems)
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
    yield judged("renders-mistral", len(real.problems), "0 problems", ok=not real.problems, detail=_some(real.problems))
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
    exact = count_exact(data.all)
    yield judged("exact-duplicates", exact, "0", ok=not exact)
    if data.validation and data.train:
        near = nearest_across(data.train, data.validation)
        detail = f"nearest {near.similarity:.2f}: {' and '.join(near.pair)}"
        goal = f"0 with Jaccard >= {NEAR:g} of masked word 5-grams"
        yield judged("near-duplicates-across", near.num_near, goal, ok=not near.num_near, detail=detail)


def split(data: DataSet) -> Iterator[Metric]:
    """Groups, places of a scenario, and ids on one side only, once only."""
    both = shared_groups(data.train, data.validation)
    yield judged("groups-on-both-sides", len(both), "0", ok=not both, detail=_some(both))
    ids = Counter(str(one.metadata.get("id")) for one in data.all)
    twice = [id_ for id_, count in ids.items() if count > 1]
    yield judged("ids-used-twice", len(twice), "0", ok=not twice, detail=_some(twice))


def repetition(data: DataSet) -> Iterator[Metric]:
    """Sentences, 4-grams, openings."""
    found = measure_repetition(data.all)
    sentence, count = found.worst_sentence
    goal = f"< {MAX_REPEATED_SHARE:g} (more than {MAX_REPEATS} times)"
    yield judged(
        "repeated-sentences", round(found.repeated_sentences, 5), goal,
        ok=found.repeated_sentences < MAX_REPEATED_SHARE, detail=f"{count} x {sentence}",
    )  # fmt: skip
    size = min(SAMPLE_SIZE, len(data.all))
    yield judged(
        "distinct-4", round(found.distinct_4_masked, 4), f">= {MIN_DISTINCT_4:g} (masked, {size:,} conversations)",
        ok=found.distinct_4_masked >= MIN_DISTINCT_4,
    )  # fmt: skip
    yield Metric("distinct-4-raw", round(found.distinct_4_raw, 4), detail=f"unmasked, {size:,} conversations")
    yield Metric("distinct-4-raw-all", round(found.distinct_4_all, 4), detail="unmasked, all conversations")
    yield judged(
        "top-opening-5-gram", round(found.top_opening, 5), f"< {MAX_OPENING_SHARE:g}",
        ok=found.top_opening < MAX_OPENING_SHARE or found.num_top_opening <= _FEW, detail=found.worst_opening,
    )  # fmt: skip


def faithful(data: DataSet) -> Metric:
    """Numbers that no tool gave."""
    wrong = [f"{one.source}: {text}" for one in data.all for text in contradictions(one)]
    return judged("number-contradictions", len(wrong), "0", ok=not wrong, detail=_some(wrong))


def mix(data: DataSet) -> Iterator[Metric]:
    """Shares of personas and scenarios, as they were promised."""
    personas = [persona for persona in PERSONAS if any(one.metadata["persona"] == persona for one in data.all)]
    yield _mixture("persona-shares", data, "persona", {persona: PERSONA_SHARES[persona] for persona in personas})
    yield _mixture("scenario-shares", data, "scenario", dict(SCENARIO_SHARES))


def _mixture(name: str, data: DataSet, key: str, shares: dict[str, float]) -> Metric:
    counts = Counter(str(one.metadata[key]) for one in data.all)
    total = len(data.all)
    wanted = dict(zip(shares, apportion(total, list(shares.values())), strict=True))
    slack = max(_FEW, round(_SHARE_TOLERANCE * total))
    apart = max((abs(counts[kind] - wanted.get(kind, 0)) for kind in {*counts, *wanted}), default=0)
    told = ", ".join(f"{kind} {counts[kind] / total:.1%}" for kind in shares)
    goal = ", ".join(f"{kind} {share / sum(shares.values()):.1%}" for kind, share in shares.items())
    return judged(name, told, goal, ok=apart <= slack)


def _share(part: int, whole: int) -> str:
    return f"{100 * part / whole:.4g} %" if whole else "0 of 0"


def _some(texts: Sequence[str]) -> str:
    return "; ".join(texts[:_NUM_SHOWN])
