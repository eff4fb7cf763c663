"""Step -> learning rate, pure: linear warm-up, then cosine, linear or constant."""

from __future__ import annotations

import math
from typing import Literal


def learning_rate(
    step: int, *, num_steps: int, base: float, warmup_ratio: float, kind: Literal["cosine", "linear", "constant"]
) -> float:
    """Give the learning rate of one optimizer step.

    With w = ceil(warmup_ratio * num_steps) warm-up steps, step s uses the factor s / w while s <= w, and afterwards
    f(s - 1), where f(i) is what transformers' `get_*_schedule_with_warmup` gives after i calls. Without warm-up, and
    after it, this is Trainer's own schedule. In the warm-up it is one step ahead, f(s): Trainer's first step has the
    rate 0 and teaches nothing; here it has base / w, and steps w and w + 1 both have `base`.

    Args:
        step: 1-based optimizer step.
        num_steps: steps of the whole run.
        base: the peak rate.
        warmup_ratio: share of the steps that warm up, 0 to 1.
        kind: "cosine" (half a wave to 0), "linear" (to 0) or "constant"; 0 would be reached at step num_steps + 1.

    Returns:
        The rate, above 0 and at most `base`.
    """
    assert 1 <= step <= num_steps, f"step {step} of {num_steps}"
    num_warmup = math.ceil(warmup_ratio * num_steps)
    if step <= num_warmup:
        return base * step / num_warmup
    if kind == "constant":
        return base
    done = (step - 1 - num_warmup) / (num_steps - num_warmup)
    return base * (0.5 * (1 + math.cos(math.pi * done)) if kind == "cosine" else 1 - done)
