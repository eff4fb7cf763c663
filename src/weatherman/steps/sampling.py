"""Which examples each optimizer step takes: a pure function of (seed, epoch), so that a resumed run draws the same."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import islice, tee, zip_longest
from typing import TypeVar

import numpy as np

from weatherman.records import Rendered, StepPlan

Item = TypeVar("Item")


def conversations_in(examples: Sequence[Rendered]) -> list[range]:
    """The places of each conversation's examples: its views stand side by side, and share their source."""
    found: list[range] = []
    for index, example in enumerate(examples):
        if found and example.source and example.source == examples[found[-1].start].source:
            found[-1] = range(found[-1].start, index + 1)
        else:
            found.append(range(index, index + 1))
    return found


def num_conversations(examples: Sequence[Rendered]) -> int:
    """How many conversations the examples are views of: what steps and epochs count."""
    return len(conversations_in(examples))


def subset_of_conversations(examples: Sequence[Rendered], limit: int | None, seed: int) -> list[Rendered]:
    """The examples of at most `limit` conversations chosen by `seed`, in their order; all when `limit` is None."""
    chosen = seeded_subset(conversations_in(examples), limit, seed)
    return [examples[index] for places in chosen for index in places]


def split(examples: Sequence[Rendered], share: float, seed: int) -> tuple[list[Rendered], list[Rendered]]:
    """Hold a share of the conversations out, chosen by `seed`: at least one, if the share is not 0 and two are there.

    Returns:
        The examples to train on and those held out, each in their order.
    """
    conversations = conversations_in(examples)
    num_held_out = min(len(conversations) - 1, max(1, round(share * len(conversations)))) if share else 0
    held_out = {places.start for places in seeded_subset(conversations, num_held_out, seed)}
    sides: tuple[list[Rendered], list[Rendered]] = ([], [])
    for places in conversations:
        sides[places.start in held_out].extend(examples[index] for index in places)
    return sides


def steps_per_epoch(num_examples: int, batch_size: int) -> int:
    """Steps in an epoch of so many conversations; the last one may hold fewer."""
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

    A step takes whole conversations: all views of one meet in it, where the prefix tree computes once what they share.

    Args:
        examples: the training set.
        batch_size: conversations per optimizer step.
        seed: the run's seed.
        first_step: where to begin; a resumed run begins after its checkpoint.
        last_step: where to end.

    Yields:
        One plan per step.
    """
    conversations = conversations_in(examples)
    per_epoch = steps_per_epoch(len(conversations), batch_size)
    order: list[int] = []
    order_epoch = -1
    for step in range(first_step, last_step + 1):
        epoch, place = divmod(step - 1, per_epoch)
        if epoch != order_epoch:
            order, order_epoch = epoch_order(len(conversations), seed, epoch), epoch
        met = order[place * batch_size : (place + 1) * batch_size]
        chosen = [index for number in met for index in conversations[number]]
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
