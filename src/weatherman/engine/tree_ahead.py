"""The next step's prefix tree is built in a thread while this step computes; the result is the same either way."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor

from weatherman.records import StepPlan
from weatherman.steps.prefix_tree import PrefixTree


class TreeAhead:
    """Trees of steps, built when asked for or ahead of time.

    Args:
        build: makes a plan's tree, a pure function.
    """

    def __init__(self, build: Callable[[StepPlan], PrefixTree]) -> None:
        self._build = build
        self._executor: ThreadPoolExecutor | None = None
        self._ahead: dict[int, tuple[StepPlan, Future[PrefixTree]]] = {}

    def prepare(self, plan: StepPlan) -> None:
        """Begin to build a plan's tree."""
        self._executor = self._executor or ThreadPoolExecutor(1, thread_name_prefix="tree")
        self._ahead[plan.step] = (plan, self._executor.submit(self._build, plan))

    def tree(self, plan: StepPlan) -> PrefixTree:
        """Give a plan's tree; waits for it if it is being built, builds it if it was not prepared."""
        ahead = self._ahead.pop(plan.step, None)
        return ahead[1].result() if ahead and ahead[0] is plan else self._build(plan)
