"""Step -> learning rate, pure: linear warm-up, then cosine, linear or constant."""

from __future__ import annotations

import math


def learning_rate(step: int, *, num_steps: int, base: float, warmup_ratio: float, kind: str) -> float:
    """The learning rate of one optimizer step.

    The warm-up takes ``ceil(warmup_ratio * num_steps)`` steps. Step s (1-based) uses what transformers' schedulers give
    after s - 1 calls, except that the warm-up does not spend its first step at rate 0: it rises to `base` at its end.

    Args:
        step: 1-based optimizer step.
        num_steps: steps of the whole run.
        base: the peak rate.
        warmup_ratio: share of the steps that warm up, 0 to 1.
        kind: "cosine" (half a wave to 0), "linear" (to 0) or "constant".

    Returns:
        The rate, between 0 and `base`.
    """
    warmup = math.ceil(warmup_ratio * num_steps)
    if step <= warmup:
        return base * step / warmup
    if kind == "constant":
        return base
    done = (step - 1 - warmup) / max(1, num_steps - warmup)
    return base * (0.5 * (1 + math.cos(math.pi * done)) if kind == "cosine" else 1 - done)
