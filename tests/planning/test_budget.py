from __future__ import annotations

import itertools

import pytest

from weatherman.config.schema import TrainingConfig
from weatherman.errors import Problems, WeathermanError
from weatherman.planning.budget import RESERVE, Budget, Measured, budget_of, refuse_too_small, steps_that_fit, told
from weatherman.steps.horizon import Horizon

MEASURED = Measured(spent_s=10.0, before_s=20.0, save_s=1.0, validate_s=3.0, token_s=0.01)


def config(**changes: object) -> TrainingConfig:
    return TrainingConfig.model_validate({"save_steps": 10, "eval_steps": 5, **changes})


def test_smaller_of_minutes_and_money_is_the_budget() -> None:
    assert budget_of(config()) is None
    assert budget_of(config(max_minutes=8.0)) == Budget(480.0, "8 minutes")
    money = budget_of(config(max_minutes=60.0, max_cost=1.5, hourly_rate=3.0))
    assert money == Budget(1800.0, "$1.50 at $3 an hour, 30 min")
    assert budget_of(config(max_minutes=10.0, max_cost=1.5, hourly_rate=3.0)) == Budget(600.0, "10 minutes")


def test_money_without_a_rate_is_refused() -> None:
    with pytest.raises(ValueError, match="it needs hourly_rate"):
        config(max_cost=2.0)


def test_steps_are_counted_with_saves_validations_and_the_ending() -> None:
    assert MEASURED.ending_s == pytest.approx(2 * 1.0 + 1.1 * 20.0 + 2.0)
    # 4 steps are done; each further one takes 1 s, a save 1 s at 10, 20, a validation 3 s at 5, 10, 15, 20.
    left_s = 11 + 1 + 3 * 3  # the steps 5 .. 15 with what stands between them
    limit_s = (10 + MEASURED.ending_s + left_s - 3) / (1 - RESERVE)
    budget = Budget(limit_s + 1e-6, "")
    assert steps_that_fit(budget, MEASURED, 4, itertools.repeat(100), config()) == 15
    assert steps_that_fit(Budget(limit_s - 0.1, ""), MEASURED, 4, itertools.repeat(100), config()) == 14


def test_never_more_steps_than_are_configured_and_never_fewer_than_are_done() -> None:
    assert steps_that_fit(Budget(1e9, ""), MEASURED, 4, [100] * 6, config()) == 10
    assert steps_that_fit(Budget(5.0, ""), MEASURED, 4, [100] * 6, config()) == 4


def test_longer_conversations_take_longer() -> None:
    budget = Budget((10 + MEASURED.ending_s + 12.5) / (1 - RESERVE), "")
    calm = config(save_steps=1000, eval_steps=None)
    assert steps_that_fit(budget, MEASURED, 0, [100, 100, 1000, 100], calm) == 3
    assert steps_that_fit(budget, MEASURED, 0, [100, 100, 1100, 100], calm) == 2


def test_budget_that_ends_before_the_first_step_is_refused_with_what_is_needed() -> None:
    refuse_too_small(Budget(100.0, "x"), 60.0, 30.0)
    with pytest.raises(
        WeathermanError, match=r"the budget of 1 minutes holds no step: loading .* take 62 s alone"
    ) as no:
        refuse_too_small(Budget(60.0, "1 minutes"), 38.0, 20.0)
    assert no.value.code == "budget.too-small"


def test_steps_before_the_settling_keep_their_rate() -> None:
    open_end = Horizon(60)
    assert (open_end.last_step, open_end.is_settled, open_end.num_steps_at(60)) == (60, False, 60)
    settled = open_end.settle(4, 42)
    assert [settled.num_steps_at(step) for step in (1, 4, 5, 42)] == [60, 60, 42, 42]
    assert settled.last_step == 42
    assert open_end.settle(4, 99).last_step == 60
    assert open_end.settle(4, 1).last_step == 4
    assert told(Budget(480.0, "8 minutes"), 42, 60) == "42 of 60 steps: 8 minutes"


def test_message_of_a_cost_without_a_rate_names_the_line(tmp_path) -> None:  # type: ignore[no-untyped-def]
    from weatherman.config.schema import load_config

    path = tmp_path / "c.yaml"
    path.write_text("platform: demo\nmax_cost: 2.0\n")
    with pytest.raises(Problems) as failure:
        load_config(path)
    assert f"{path}:2 max_cost" in failure.value.problems[0].message
