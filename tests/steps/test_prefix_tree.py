"""The prefix tree, unrolled, must give back exactly the (context, target, weight) of every example."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from weatherman.records import Rendered
from weatherman.steps.passes import Pass, plan_passes
from weatherman.steps.prefix_tree import (
    MIN_SHARE_FACTOR,
    NO_PARENT,
    PrefixTree,
    build_tree,
    decide_sharing,
    pad,
    share_factor,
)


def example(ids: list[int], mask: list[int]) -> Rendered:
    return Rendered(np.array(ids, np.int32), np.array(mask, np.bool_))


@st.composite
def examples(draw: st.DrawFn) -> list[Rendered]:
    tokens = st.integers(0, 2)  # few tokens, so that prefixes are shared often
    rows = []
    for _ in range(draw(st.integers(1, 6))):
        ids = draw(st.lists(tokens, min_size=2, max_size=12))
        mask = [False, *draw(st.lists(st.booleans(), min_size=len(ids) - 1, max_size=len(ids) - 1))]
        rows.append(example(ids, mask))
    return rows


def expected_targets(rows: list[Rendered]) -> Counter[tuple[tuple[int, ...], int]]:
    """(context, target) -> weight, straight from the definition."""
    return Counter(
        (tuple(map(int, row.ids[:place])), int(row.ids[place]))
        for row in rows
        for place in range(1, len(row.ids))
        if row.mask[place]
    )


def unrolled_targets(tree: PrefixTree) -> Counter[tuple[tuple[int, ...], int]]:
    found: Counter[tuple[tuple[int, ...], int]] = Counter()
    for index, segment in enumerate(tree.segments):
        before = [int(t) for above in tree.ancestors(index) for t in tree.segments[above].ids]
        assert len(before) == segment.start
        for place, target, weight in zip(segment.context, segment.target, segment.weight, strict=True):
            found[(*before, *map(int, segment.ids[: place + 1])), int(target)] += int(weight)
    return found


@given(examples(), st.integers(1, 5), st.one_of(st.none(), st.integers(1, 4)))
@settings(max_examples=400, deadline=None)
def test_unrolling_gives_back_every_target(rows: list[Rendered], min_shared: int, longest: int | None) -> None:
    tree = build_tree(rows, min_shared_tokens=min_shared, max_segment_tokens=longest)
    assert unrolled_targets(tree) == expected_targets(rows)
    assert tree.num_supervised_tokens == sum(int(row.mask.sum()) for row in rows)
    assert tree.num_effective_tokens == sum(len(row.ids) for row in rows)
    assert all(segment.parent < index for index, segment in enumerate(tree.segments))
    assert all(0 < len(segment.ids) <= (longest or 99) for segment in tree.segments)


@given(examples())
@settings(max_examples=200, deadline=None)
def test_no_context_is_computed_twice_or_needlessly(rows: list[Rendered]) -> None:
    needed = {
        tuple(map(int, row.ids[:length]))
        for row in rows
        if row.mask.any()
        for length in range(1, int(np.flatnonzero(row.mask)[-1]) + 1)
    }
    assert build_tree(rows).num_computed_tokens == len(needed)


@given(examples(), st.integers(1, 20), st.one_of(st.none(), st.integers(0, 20)))
@settings(max_examples=300, deadline=None)
def test_passes_cover_the_tree_within_the_budget(rows: list[Rendered], budget: int, held: int | None) -> None:
    tree = build_tree(rows, max_segment_tokens=budget)
    seen: list[int] = []

    def walk(passes: list[Pass], above: tuple[int, ...]) -> None:
        for one in passes:
            assert sum(len(tree.segments[index].ids) for index in one.segments) <= budget
            for index in one.segments:
                outside = [a for a in tree.ancestors(index) if a not in one.segments]
                assert outside == list(above)
                seen.append(index)
            assert not one.children or len(one.segments) == 1
            walk(list(one.children), (*above, *one.segments))

    walk(plan_passes(tree, budget, held), ())
    assert sorted(seen) == list(range(len(tree.segments)))


def test_a_fork_gives_its_context_both_targets() -> None:
    tree = build_tree([example([1, 2, 3, 4], [0, 0, 1, 1]), example([1, 2, 5, 6], [0, 0, 1, 1])])
    assert [list(segment.ids) for segment in tree.segments] == [[1, 2], [3], [5]]
    assert [segment.parent for segment in tree.segments] == [NO_PARENT, 0, 0]
    root = tree.segments[0]
    assert list(zip(root.context, root.target, root.weight, strict=True)) == [(1, 3, 1), (1, 5, 1)]
    assert share_factor(tree) == 8 / 4


def test_identical_examples_weigh_twice() -> None:
    tree = build_tree([example([1, 2, 3], [0, 1, 1])] * 2)
    assert [list(segment.ids) for segment in tree.segments] == [[1, 2]]
    assert list(tree.segments[0].weight) == [2, 2]


def test_one_example_is_a_prefix_of_another() -> None:
    tree = build_tree([example([1, 2, 3], [0, 0, 1]), example([1, 2, 3, 4, 5], [0, 0, 1, 0, 1])])
    assert [list(segment.ids) for segment in tree.segments] == [[1, 2], [3, 4]]
    assert list(tree.segments[0].weight) == [2]


def test_nothing_supervised_is_an_empty_tree() -> None:
    tree = build_tree([example([1, 2, 3], [0, 0, 0])])
    assert tree.segments == ()
    assert plan_passes(tree, 10) == []


def test_short_shared_runs_are_repeated() -> None:
    rows = [example([1, 2, 3, 4, 9], [0, 0, 0, 0, 1]), example([1, 2, 5, 6, 9], [0, 0, 0, 0, 1])]
    tree = build_tree(rows, min_shared_tokens=3)
    assert [(list(s.ids), s.parent, s.start) for s in tree.segments] == [([1, 2, 3, 4], -1, 0), ([1, 2, 5, 6], -1, 0)]


def test_a_trunk_over_the_held_limit_is_recomputed() -> None:
    rows = [example([1, 2, 3, first, 8, 9], [0, 0, 0, 0, 0, 1]) for first in (4, 5)]
    tree = build_tree(rows)
    assert plan_passes(tree, 4, max_held_tokens=2) == [Pass((0,), (Pass((1, 2)),), recompute=True)]
    assert plan_passes(tree, 4, max_held_tokens=3) == [Pass((0,), (Pass((1, 2)),), recompute=False)]
    assert plan_passes(tree, None) == [Pass((0, 1, 2))]


def test_padding_goes_to_the_right() -> None:
    batch = pad([example([7, 8, 9], [0, 1, 0]), example([5, 6], [0, 1])])
    assert batch.ids.tolist() == [[7, 8, 9], [5, 6, 0]]
    assert batch.attention.tolist() == [[True, True, True], [True, True, False]]
    assert batch.supervised.tolist() == [[False, True, False], [False, True, False]]


@pytest.mark.parametrize("num_shared", [0, 5])
def test_share_factor_counts_effective_over_computed(num_shared: int) -> None:
    rows = [example([*range(10, 10 + num_shared), first, 99], [0] * (num_shared + 1) + [1]) for first in (1, 2)]
    tree = build_tree(rows)
    assert share_factor(tree) == 2 * (num_shared + 2) / (num_shared + 2)


def rows_with_shared(num_shared: int, num_own: int, num_rows: int) -> list[Rendered]:
    shared = list(range(10, 10 + num_shared))
    return [
        example([*shared, *range(1000 * row, 1000 * row + num_own)], [0] * (num_shared + num_own - 1) + [1])
        for row in range(1, num_rows + 1)
    ]


def test_sharing_is_decided_by_the_steps_own_trees() -> None:
    # 4 examples a step: 4 * (32 + 33) effective tokens, 32 + 4 * 32 computed (the last target needs no pass).
    share, factor = decide_sharing(rows_with_shared(32, 33, 40), 4, seed=1)
    assert (share, factor) == (True, 4 * 65 / (32 + 4 * 32))
    share, factor = decide_sharing(rows_with_shared(0, 64, 40), 4, seed=1)
    assert (share, factor) == (False, 64 / 63)
    assert 1 < MIN_SHARE_FACTOR < 1.5
    assert decide_sharing(rows_with_shared(32, 33, 3), 1, seed=1)[0] is False
    assert decide_sharing(rows_with_shared(0, 64, 5), 4, seed=1) == decide_sharing(
        rows_with_shared(0, 64, 5), 4, seed=1
    )
