"""What several prompts have in common: a prefix that is computed once."""

from __future__ import annotations

from collections.abc import Sequence

MIN_SHARED_TOKENS = 16


def common_prefix_length(prompts: Sequence[Sequence[int]]) -> int:
    """How many leading tokens all prompts share; every prompt keeps at least one token of its own."""
    shortest = min(len(prompt) for prompt in prompts) - 1
    first = prompts[0]
    for place in range(shortest):
        if any(prompt[place] != first[place] for prompt in prompts):
            return place
    return max(0, shortest)
