"""Trees built ahead are those built on demand."""

from __future__ import annotations

import threading

import pytest

from torch_models_for_tests import conversations
from weatherman.engine.tree_ahead import TreeAhead
from weatherman.records import StepPlan
from weatherman.steps.prefix_tree import PrefixTree, build_tree
from weatherman.steps.sampling import step_plans, with_next

PLANS = list(step_plans(conversations(20, 10, 8), batch_size=2, seed=1, first_step=1, last_step=4))


def test_each_plan_gets_its_own_tree_built_once() -> None:
    built: list[tuple[int, str]] = []

    def build(plan: StepPlan) -> PrefixTree:
        built.append((plan.step, threading.current_thread().name))
        return build_tree(plan.examples)

    trees = TreeAhead(build)
    for plan, upcoming in with_next(PLANS):
        if upcoming and plan.step != 2:  # step 3 is not prepared
            trees.prepare(upcoming)
        found, expected = trees.tree(plan), build_tree(plan.examples)
        assert [segment.ids.tolist() for segment in found.segments] == [s.ids.tolist() for s in expected.segments]
    assert {step: name.startswith("tree") for step, name in built} == {1: False, 2: True, 3: False, 4: True}
    assert len(built) == 4


def test_a_prepared_plan_is_built_in_the_background() -> None:
    names: list[str] = []

    def build(plan: StepPlan) -> PrefixTree:
        names.append(threading.current_thread().name)
        return build_tree(plan.examples)

    trees = TreeAhead(build)
    trees.prepare(PLANS[0])
    trees.tree(PLANS[0])
    trees.prepare(PLANS[1])
    trees.tree(PLANS[2])  # another one than was prepared
    assert names[0].startswith("tree")
    assert threading.current_thread().name in names[1:]


def test_a_failure_in_the_background_is_raised_where_the_tree_is_wanted() -> None:
    trees = TreeAhead(lambda plan: 1 / 0)  # type: ignore[arg-type,return-value]
    trees.prepare(PLANS[0])
    with pytest.raises(ZeroDivisionError):
        trees.tree(PLANS[0])


def test_with_next_pairs_every_plan_with_the_one_after_it() -> None:
    assert list(with_next([1, 2, 3])) == [(1, 2), (2, 3), (3, None)]
    assert list(with_next([])) == []
