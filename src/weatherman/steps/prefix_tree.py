"""Which tokens a step computes: padded batches, or a prefix tree that holds every shared run of tokens once.

A context (a token and everything before it) that several examples share gives the same hidden state in each of them,
so it is computed once. A node of the tree, a `Segment`, is a run of tokens whose ancestors are its prefix. A target
belongs to the segment that holds its *context*: a fork's last token simply has several targets, and a target that
several examples supervise weighs as many.

Shape legend: T tokens of an example, N tokens of a segment, K targets of a segment, B examples.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from weatherman.records import Rendered
from weatherman.steps.sampling import step_plans, steps_per_epoch

NO_PARENT = -1
SHARES_NOTHING = 2**31  # as `min_shared_tokens`: each example is a branch of its own
MIN_SHARED_TOKENS = 16  # a shorter shared run costs more as a segment of its own than it saves
MIN_SHARE_FACTOR = 1.05
_SAMPLED_STEPS = 12


@dataclass(frozen=True, slots=True)
class Segment:
    """One node of the prefix tree.

    `ids` int32 [N] at positions `start` .. `start + N - 1`; `parent` is the index of the segment before it or
    `NO_PARENT`. Target k: after token `context[k]` of this segment, `target[k]` is expected by `weight[k]` examples.
    """

    ids: NDArray[np.int32]
    parent: int
    start: int
    context: NDArray[np.int64]
    target: NDArray[np.int64]
    weight: NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class PrefixTree:
    """The segments of a step, every parent before its children, siblings in the order of their tokens."""

    segments: tuple[Segment, ...]
    num_supervised_tokens: int
    num_effective_tokens: int

    @property
    def num_computed_tokens(self) -> int:
        """Tokens that pass through the model."""
        return sum(len(segment.ids) for segment in self.segments)

    def ancestors(self, index: int) -> list[int]:
        """The segments before `index` on its path, root first."""
        path: list[int] = []
        while (index := self.segments[index].parent) != NO_PARENT:
            path.append(index)
        return path[::-1]


@dataclass(frozen=True, slots=True)
class PaddedBatch:
    """Examples side by side, padded on the right: `ids` int64 [B, T], `attention` bool [B, T] (true: a real token),
    `supervised` bool [B, T] (true: this token is a target).
    """

    ids: NDArray[np.int64]
    attention: NDArray[np.bool_]
    supervised: NDArray[np.bool_]


def pad(examples: Sequence[Rendered]) -> PaddedBatch:
    """Pad examples to the longest of them.

    Args:
        examples: at least one example.

    Returns:
        The batch, padded with token 0 that nothing attends to or is trained on.
    """
    shape = (len(examples), max(len(example.ids) for example in examples))
    ids = np.zeros(shape, np.int64)
    attention = np.zeros(shape, np.bool_)
    supervised = np.zeros(shape, np.bool_)
    for row, example in enumerate(examples):
        length = len(example.ids)
        ids[row, :length] = example.ids
        attention[row, :length] = True
        supervised[row, :length] = example.mask
    return PaddedBatch(ids, attention, supervised)


def build_tree(
    examples: Sequence[Rendered], *, min_shared_tokens: int = 1, max_segment_tokens: int | None = None
) -> PrefixTree:
    """Build the prefix tree of a step.

    Tokens that no target depends on (after an example's last supervised context) are left out.

    Args:
        examples: the step's examples, in any order.
        min_shared_tokens: a run shared by a group is given a node of its own only if it is at least this long;
            shorter runs are repeated in each branch (a tiny segment costs more than it saves).
        max_segment_tokens: longer segments are cut into a chain; None leaves them whole.

    Returns:
        The tree; empty when nothing is supervised.
    """
    trained = [_trim(example) for example in examples if example.mask[1:].any()]
    trained.sort(key=lambda example: example.ids.astype(">i4").tobytes())
    segments: list[Segment] = []
    for low, high, begin, end, parent in _shared_runs(trained, min_shared_tokens, segments):
        _append_chain(segments, trained[low:high], begin, end, parent, max_segment_tokens)
    return PrefixTree(
        segments=tuple(segments),
        num_supervised_tokens=sum(int(example.mask[1:].sum()) for example in examples),
        num_effective_tokens=sum(len(example.ids) for example in examples),
    )


def _trim(example: Rendered) -> Rendered:
    """Cut the example after its last target, so that its last context is the token before."""
    length = int(np.flatnonzero(example.mask)[-1]) + 1
    return Rendered(example.ids[:length], example.mask[:length], example.source)


def _num_contexts(example: Rendered) -> int:
    return len(example.ids) - 1


def _common_prefix(a: Rendered, b: Rendered) -> int:
    """How many leading contexts of two examples are the same."""
    length = min(_num_contexts(a), _num_contexts(b))
    different = np.flatnonzero(a.ids[:length] != b.ids[:length])
    return int(different[0]) if len(different) else length


def _shared_runs(
    trained: Sequence[Rendered], min_shared_tokens: int, segments: Sequence[Segment]
) -> Iterator[tuple[int, int, int, int, int]]:
    """Walk the sorted examples depth-first; yield (low, high, begin, end, parent): examples low..high share the
    contexts begin..end below segment `parent`. The caller appends the segment before asking for the next one.
    """
    lcp = [_common_prefix(a, b) for a, b in pairwise(trained)]
    stack = [(0, len(trained), 0, NO_PARENT)] if trained else []
    while stack:
        low, high, begin, parent = stack.pop()
        end = min(lcp[low : high - 1], default=_num_contexts(trained[low]))
        groups = list(_split(trained, low, high, end))
        if end - begin >= min_shared_tokens or len(groups) == 1:
            if end > begin:
                yield low, high, begin, end, parent
                begin, parent = end, len(segments) - 1
            groups = [(a, b) for a, b in groups if _num_contexts(trained[a]) > end]
        stack.extend((a, b, begin, parent) for a, b in reversed(groups))


def _split(trained: Sequence[Rendered], low: int, high: int, end: int) -> Iterator[tuple[int, int]]:
    """Split examples that agree up to context `end` by what follows there (nothing, or which token)."""
    following = [
        int(trained[index].ids[end]) if _num_contexts(trained[index]) > end else NO_PARENT for index in range(low, high)
    ]
    first = low
    for index in range(low + 1, high + 1):
        if index == high or following[index - low] != following[first - low]:
            yield first, index
            first = index


def _append_chain(
    segments: list[Segment],
    group: Sequence[Rendered],
    begin: int,
    end: int,
    parent: int,
    max_segment_tokens: int | None,
) -> None:
    size = max_segment_tokens or end - begin
    for start in range(begin, end, size):
        segments.append(_segment(group, start, min(start + size, end), parent))
        parent = len(segments) - 1


def _segment(group: Sequence[Rendered], begin: int, end: int, parent: int) -> Segment:
    """Make the segment of contexts begin..end that `group` shares, with the targets of all of its examples."""
    contexts, targets = [], []
    for example in group:
        context = np.flatnonzero(example.mask[begin + 1 : end + 1])
        contexts.append(context)
        targets.append(example.ids[begin + 1 + context])
    pairs = np.stack([np.concatenate(contexts), np.concatenate(targets).astype(np.int64)], axis=1)
    unique, weight = np.unique(pairs, axis=0, return_counts=True)
    return Segment(group[0].ids[begin:end], parent, begin, unique[:, 0], unique[:, 1], weight.astype(np.int64))


def share_factor(tree: PrefixTree) -> float:
    """Effective tokens per computed token: what sharing saves, 1.0 when nothing is shared."""
    return tree.num_effective_tokens / max(1, tree.num_computed_tokens)


def decide_sharing(examples: Sequence[Rendered], batch_size: int, seed: int) -> tuple[bool, float]:
    """Decide `sharing: auto` by building the trees of a few of the run's own steps.

    Args:
        examples: the training set.
        batch_size: examples per optimizer step.
        seed: the run's seed, which decides what meets in a step.

    Returns:
        Whether a step's prefix tree saves enough (a share factor of at least `MIN_SHARE_FACTOR`), and the share
        factor: effective tokens per computed token over the sampled steps of the first epoch.
    """
    num_steps = steps_per_epoch(len(examples), batch_size)
    num_effective = num_computed = 0
    for step in np.unique(np.linspace(1, num_steps, min(num_steps, _SAMPLED_STEPS)).astype(int)):
        (plan,) = step_plans(examples, batch_size=batch_size, seed=seed, first_step=int(step), last_step=int(step))
        tree = build_tree(plan.examples, min_shared_tokens=MIN_SHARED_TOKENS)
        num_effective += tree.num_effective_tokens
        num_computed += tree.num_computed_tokens
    factor = num_effective / max(1, num_computed)
    return factor >= MIN_SHARE_FACTOR, factor
