"""A run that fits into minutes or dollars: how many steps, reckoned once from what this machine was measured to need.

The clock is the run's: every attempt counts from its start, with loading, measuring and saving.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from weatherman.config.schema import TrainingConfig
from weatherman.errors import WeathermanError
from weatherman.progress import format_duration

MEASURED_STEPS = 3  # after a first one that also warms caches up
RESERVE = 0.03  # of the budget, for steps that are longer than those measured
_CLOSING_S = 2.0  # the report, the card and the process's end
_AFTER_IS_SLOWER = 1.1  # the adapter's own products


@dataclass(frozen=True, slots=True)
class Budget:
    """What a run may take: seconds, and the words that the configuration says it in."""

    limit_s: float
    words: str


def budget_of(config: TrainingConfig) -> Budget | None:
    """The budget of a configuration, the smaller of both if it gives minutes and money; None if it gives neither."""
    found = []
    if config.max_minutes is not None:
        found.append(Budget(60 * config.max_minutes, f"{config.max_minutes:g} minutes"))
    if config.max_cost is not None and config.hourly_rate is not None:
        limit_s = 3600 * config.max_cost / config.hourly_rate
        words = f"${config.max_cost:.2f} at ${config.hourly_rate:g} an hour, {format_duration(limit_s)}"
        found.append(Budget(limit_s, words))
    return min(found, key=lambda budget: budget.limit_s, default=None)


@dataclass(frozen=True, slots=True)
class Measured:
    """What was measured on this machine, in seconds.

    Attributes:
        spent_s: on the run up to now, earlier attempts included.
        before_s: to measure the base model; the adapter is measured the same way at the end.
        save_s: a checkpoint.
        validate_s: a validation during training.
        token_s: an effective token of a step.
    """

    spent_s: float
    before_s: float
    save_s: float
    validate_s: float
    token_s: float

    @property
    def ending_s(self) -> float:
        """What follows the last step: its checkpoint and the adapter, the measurement, the report."""
        return 2 * self.save_s + _AFTER_IS_SLOWER * self.before_s + _CLOSING_S


def steps_that_fit(
    budget: Budget, measured: Measured, done: int, upcoming_tokens: Iterable[int], config: TrainingConfig
) -> int:
    """How many steps the whole run can have.

    Args:
        budget: what it may take.
        measured: what was measured.
        done: steps that are done.
        upcoming_tokens: effective tokens of the steps after those, in order, to the configured end.
        config: how often it saves and validates.

    Returns:
        The last step that fits; `done` if none does.
    """
    left_s = budget.limit_s * (1 - RESERVE) - measured.spent_s - measured.ending_s
    fits = done
    for step, num_tokens in enumerate(upcoming_tokens, start=done + 1):
        left_s -= num_tokens * measured.token_s
        if left_s < 0:
            break
        fits = step
        left_s -= measured.save_s if step % config.save_steps == 0 else 0.0
        left_s -= measured.validate_s if config.eval_steps and step % config.eval_steps == 0 else 0.0
    return fits


def refuse_too_small(budget: Budget, spent_s: float, before_s: float) -> None:
    """Refuse a budget that is over before the first step, once the model is loaded and the base model measured.

    Raises:
        WeathermanError: no step fits, with what is needed.
    """
    needed_s = spent_s + _AFTER_IS_SLOWER * before_s + _CLOSING_S
    if needed_s >= budget.limit_s * (1 - RESERVE):
        text = f"loading the model and measuring take {format_duration(needed_s)} alone"
        raise WeathermanError(
            "budget.too-small",
            f"the budget of {budget.words} holds no step: {text}.",
            "raise max_minutes or max_cost, or measure less: lower num_tool_eval_prompts and max_eval_examples.",
        )


def told(budget: Budget, last_step: int, configured: int) -> str:
    """What a budget did, for the plan, the status, the report and the card: `42 of 60 steps: 8 minutes`."""
    return f"{last_step} of {configured} steps: {budget.words}"


def estimated_words(config: TrainingConfig, num_steps: int, time_s: tuple[float, float]) -> str | None:
    """What a budget will probably do, before anything was measured; None without one.

    Args:
        config: the configuration.
        num_steps: the steps that it asks for.
        time_s: the shortest and the longest time that those are estimated to take, in seconds.
    """
    budget = budget_of(config)
    if budget is None:
        return None
    most, fewest = (min(num_steps, int(num_steps * budget.limit_s / max(one_s, 1e-9))) for one_s in time_s)
    some = f"all {num_steps:,}" if fewest == num_steps else f"{fewest:,} to {most:,} of {num_steps:,}"
    return (
        f"{budget.words} hold {some} steps by this estimate, less what loading and measuring take; "
        "the run measures its first steps and settles it"
    )
