from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from transformers import (
    get_constant_schedule_with_warmup,
    get_cosine_schedule_with_warmup,
    get_linear_schedule_with_warmup,
)

from weatherman.steps.schedule import learning_rate

BASE = 2e-4
KINDS = ("cosine", "linear", "constant")


def reference_factors(kind: str, num_warmup: int, num_steps: int) -> list[float]:
    """What transformers' scheduler gives after 0, 1, ..., num_steps calls."""
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=1.0)
    if kind == "constant":
        schedule = get_constant_schedule_with_warmup(optimizer, num_warmup)
    elif kind == "linear":
        schedule = get_linear_schedule_with_warmup(optimizer, num_warmup, num_steps)
    else:
        schedule = get_cosine_schedule_with_warmup(optimizer, num_warmup, num_steps)
    factors = []
    for _ in range(num_steps + 1):
        factors.append(schedule.get_last_lr()[0])
        optimizer.step()
        schedule.step()
    return factors


def rates(kind: str, num_steps: int, warmup_ratio: float) -> list[float]:
    return [
        learning_rate(step, num_steps=num_steps, base=BASE, warmup_ratio=warmup_ratio, kind=kind)
        for step in range(1, num_steps + 1)
    ]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    ("num_steps", "warmup_ratio"), [(60, 0.05), (60, 0.0), (7, 0.5), (1, 0.0), (10, 1.0), (33, 0.03)]
)
def test_equals_transformers_schedulers(kind, num_steps, warmup_ratio):
    num_warmup = math.ceil(warmup_ratio * num_steps)
    after = reference_factors(kind, num_warmup, num_steps)
    during = reference_factors(kind, num_warmup, num_steps + 1)  # longer: f(w) is the peak also if all steps warm up
    expected = [BASE * (during[s] if s <= num_warmup else after[s - 1]) for s in range(1, num_steps + 1)]
    assert rates(kind, num_steps, warmup_ratio) == pytest.approx(expected, rel=1e-12, abs=1e-18)


def test_exact_values_of_a_short_run():
    assert rates("linear", 6, 1 / 3) == pytest.approx([BASE * f for f in (0.5, 1, 1, 0.75, 0.5, 0.25)], rel=1e-12)
    assert rates("constant", 4, 0.5) == pytest.approx([BASE * f for f in (0.5, 1, 1, 1)], rel=1e-12)
    half = math.sqrt(0.5) / 2
    expected = [1, 0.5 + half, 0.5, 0.5 - half]
    assert rates("cosine", 4, 0.0) == pytest.approx([BASE * f for f in expected], rel=1e-12)


def test_a_run_of_one_step_learns():
    assert rates("cosine", 1, 0.03) == [BASE]


@given(st.sampled_from(KINDS), st.integers(1, 200), st.floats(0, 1))
def test_rises_to_the_base_then_never_rises_and_never_reaches_zero(kind, num_steps, warmup_ratio):
    found = rates(kind, num_steps, warmup_ratio)
    num_warmup = math.ceil(warmup_ratio * num_steps)
    assert all(0 < rate <= BASE * (1 + 1e-12) for rate in found)
    assert found[:num_warmup] == sorted(found[:num_warmup])
    assert found[max(num_warmup - 1, 0)] == pytest.approx(BASE)
    assert found[num_warmup:] == sorted(found[num_warmup:], reverse=True)


@pytest.mark.parametrize("step", [0, 5])
def test_a_step_outside_the_run_is_a_bug(step):
    with pytest.raises(AssertionError):
        learning_rate(step, num_steps=4, base=BASE, warmup_ratio=0.0, kind="linear")
