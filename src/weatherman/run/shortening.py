"""Keeping a run within its budget: the base model is measured, then a few steps, then the run's end is settled."""

from __future__ import annotations

import time
from collections.abc import Callable

from weatherman import messages
from weatherman.config.schema import TrainingConfig
from weatherman.planning.budget import (
    MEASURED_STEPS,
    Budget,
    Measured,
    budget_of,
    refuse_too_small,
    steps_that_fit,
    told,
)
from weatherman.progress import format_duration
from weatherman.records import StepPlan
from weatherman.run.run import Run
from weatherman.run.training_data import TrainingData
from weatherman.steps.sampling import step_plans

_LATE = 1.25  # of the budget: from here on it is said that the run will take longer


class Shortening:
    """Settles, once, how many steps a run has, and says so where the machine becomes slower afterwards.

    Without a budget, or when an earlier attempt settled it, nothing is measured.

    Args:
        run: whose clock counts.
        data: what it trains on.
        tag: of its lines.
        configured: the steps that the configuration asks for.
    """

    def __init__(self, run: Run, data: TrainingData, tag: str, configured: int) -> None:
        self._run, self._data, self._tag = run, data, tag
        self._config: TrainingConfig = run.config
        self._budget: Budget | None = budget_of(run.config)
        self.horizon = run.settled_horizon(configured)
        self._before_s = self._validate_s = 0.0
        self._step_s: list[float] = []
        self._tokens: list[int] = []
        self._told_late = False

    @property
    def is_open(self) -> bool:
        """Whether the run's end is still to be settled."""
        return self._budget is not None and not self.horizon.is_settled

    def measured_before(self, seconds: float) -> None:
        """Take what the base model's measurement took.

        Raises:
            WeathermanError: the budget holds no step.
        """
        if self._budget and self.is_open:
            self._before_s = seconds
            refuse_too_small(self._budget, self._run.spent_s, seconds)

    def validated(self, seconds: float) -> None:
        """Take what a validation during training took."""
        self._validate_s = seconds

    def after_step(self, plan: StepPlan, seconds: float, save: Callable[[StepPlan], None]) -> bool:
        """Count a step, and settle the end as soon as enough were measured or no further one would fit.

        Args:
            plan: the step.
            seconds: what it took.
            save: writes its checkpoint, which is measured too.

        Returns:
            Whether it saved.
        """
        if not self.is_open:
            self._tell_if_late()
            return False
        self._step_s.append(seconds)
        self._tokens.append(plan.num_effective_tokens)
        if len(self._step_s) > MEASURED_STEPS or self._reckon(plan.step, 0.0) <= plan.step:
            began_s = time.monotonic()
            save(plan)
            self._settle(plan.step, self._reckon(plan.step, time.monotonic() - began_s))
            return True
        return False

    def _reckon(self, step: int, save_s: float) -> int:
        assert self._budget
        first = 1 if len(self._step_s) > 1 else 0  # the first one also warms up
        token_s = sum(self._step_s[first:]) / max(1, sum(self._tokens[first:]))
        measured = Measured(self._run.spent_s, self._before_s, save_s, self._validate_s, token_s)
        upcoming = step_plans(
            self._data.train, batch_size=self._config.effective_batch_size, seed=self._config.seed,
            first_step=step + 1, last_step=self.horizon.configured,
        )  # fmt: skip
        tokens = (plan.num_effective_tokens for plan in upcoming)
        return steps_that_fit(self._budget, measured, step, tokens, self._config)

    def _settle(self, step: int, last_step: int) -> None:
        assert self._budget
        self.horizon = self.horizon.settle(step, last_step)
        words = told(self._budget, self.horizon.last_step, self.horizon.configured)
        self._run.record_horizon(self.horizon, words)
        messages.say(self._tag, f"The budget holds {words}")

    def _tell_if_late(self) -> None:
        if self._budget and not self._told_late and self._run.spent_s > _LATE * self._budget.limit_s:
            self._told_late = True
            messages.warning(
                f"the machine became slower than it was measured to be: {format_duration(self._run.spent_s)} are spent "
                f"of a budget of {self._budget.words}. The number of steps stays, so that the run can be resumed "
                "exactly; a stop signal ends it, saved."
            )
