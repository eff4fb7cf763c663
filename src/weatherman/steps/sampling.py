"""Which examples each optimizer step takes: a pure function of (seed, epoch), so that a resumed run draws the same."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import islice, tee, zip_longest
from typing import TypeVar

import numpy as np

from weatherman.records import Rendered, StepPlan

Item = TypeVar("Item")


def steps_per_epoch(num_examples: int, batch_size: int) -> int:
    """Steps in an epoch; the last one may hold fewer examples."""
    return -(-num_examples // batch_size)


def total_steps(num_examples: int, batch_size: int, num_epochs: int, max_steps: int | None) -> int:
    """Optimizer steps of a run: `max_steps` if given, else all epochs."""
    return max_steps or num_epochs * steps_per_epoch(num_examples, batch_size)


def epoch_order(num_examples: int, seed: int, epoch: int) -> list[int]:
    """The examples' order in an epoch: a permutation that depends on (seed, epoch) alone."""
    generator = np.random.Generator(np.random.PCG64(np.random.SeedSequence([seed, epoch])))
    return [int(index) for index in generator.permutation(num_examples)]


def step_plans(
    examples: Sequence[Rendered], *, batch_size: int, seed: int, first_step: int, last_step: int
) -> Iterator[StepPlan]:
    """The plans of steps `first_step` .. `last_step` (1-based, inclusive), in order.

    Args:
        examples: the training set.
        batch_size: examples per optimizer step.
        seed: the run's seed.
        first_step: where to begin; a resumed run begins after its checkpoint.
        last_step: where to end.

    Yields:
        One plan per step.
    """
    per_epoch = steps_per_epoch(len(examples), batch_size)
    order: list[int] = []
    order_epoch = -1
    for step in range(first_step, last_step + 1):
        epoch, place = divmod(step - 1, per_epoch)
        if epoch != order_epoch:
            order, order_epoch = epoch_order(len(examples), seed, epoch), epoch
        chosen = order[place * batch_size : (place + 1) * batch_size]
        yield StepPlan(step, epoch, tuple(chosen), tuple(examples[index] for index in chosen))


def seeded_subset(items: Sequence[Item], limit: int | None, seed: int) -> list[Item]:
    """At most `limit` items chosen by `seed`, in their original order; all of them when `limit` is None."""
    if limit is None or limit >= len(items):
        return list(items)
    generator = np.random.Generator(np.random.PCG64(np.random.SeedSequence([seed, len(items)])))
    return [items[index] for index in sorted(generator.choice(len(items), limit, replace=False))]


def with_next(items: Iterable[Item]) -> Iterator[tuple[Item, Item | None]]:
    """Pair each item with the one after it; the last with None."""
    current, following = tee(items)
    return zip_longest(current, islice(following, 1, None))
