"""Which conversations are held out: whole groups, so that no place or topic of a scenario is on both sides."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar

from weatherman.system.fingerprint import hash_text

Item = TypeVar("Item")
_HELD_OUT_SHARE = 0.1


def is_held_out(scenario: str, group: str, seed: int) -> bool:
    """Whether a group (a place or topic of a scenario) belongs to the validation file; depends on its name alone."""
    return int(hash_text(str(seed), scenario, group)[:8], 16) < _HELD_OUT_SHARE * 2**32


def apportion(total: int, shares: Sequence[float]) -> list[int]:
    """Whole numbers in the given proportions that sum to `total` (largest remainders; the earlier one wins a tie)."""
    exact = [total * share / sum(shares) for share in shares]
    counts = [int(value) for value in exact]
    by_remainder = sorted(range(len(shares)), key=lambda index: (counts[index] - exact[index], index))
    for index in by_remainder[: total - sum(counts)]:
        counts[index] += 1
    return counts
