"""What the builder promises of its own data: groups on one side, few repeated sentences, faithful numbers, the mix."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

from weatherman.quality.duplicates import shared_groups
from weatherman.quality.measures import DataSet, measure
from weatherman.quality.metric import Metric, judged, some
from weatherman.quality.repetition import MAX_REPEATS, SAMPLE_SIZE, measure_repetition
from weatherman.weather.dataset.plan import PERSONA_SHARES, SCENARIO_SHARES
from weatherman.weather.dataset.split import apportion
from weatherman.weather.dataset.voices import PERSONAS
from weatherman.weather.faithful.numbers import contradictions

MAX_REPEATED_SHARE, MIN_DISTINCT_4, MAX_OPENING_SHARE = 0.03, 0.25, 0.005
_SHARE_TOLERANCE = 0.002
_FEW = 3  # so often may even a small set begin alike, and be apart from its shares by rounding for each persona


def measure_with_promises(data: DataSet, seed: int = 42) -> Iterator[Metric]:
    """Take every measure that fits the data; the ones about the builder's promises only for its own data.

    Args:
        data: what was loaded.
        seed: decides which examples meet in the steps whose shared tokens are counted.

    Yields:
        The measures, one by one, as they are ready.
    """
    yield from measure(data, seed)
    if data.is_ours and data.all:
        yield from split(data)
        yield from repetition(data)
        yield faithful(data)
        yield from mix(data)


def split(data: DataSet) -> Iterator[Metric]:
    """Groups, places of a scenario, and ids on one side only, once only."""
    both = shared_groups(data.train, data.validation)
    yield judged("groups-on-both-sides", len(both), "0", ok=not both, detail=some(both))
    ids = Counter(str(one.metadata.get("id")) for one in data.all)
    twice = [id_ for id_, count in ids.items() if count > 1]
    yield judged("ids-used-twice", len(twice), "0", ok=not twice, detail=some(twice))


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
    return judged("number-contradictions", len(wrong), "0", ok=not wrong, detail=some(wrong))


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
