"""A run within a budget: settled once, kept to through kills, and truly within its minutes on a slow machine."""

from __future__ import annotations

import json
import signal
from pathlib import Path
from typing import Any

import pytest

from command_line import hashes, read_events, step_losses
from fault_runs import FaultRuns
from weatherman.run.spending import read_spending
from weatherman.run.status import read_status
from weatherman.steps.schedule import learning_rate

LAST_STEP, SETTLED_AT, CONFIGURED = 9, 4, 12
BUDGET = ("--set", "max_minutes=1000", "--set", "save_steps=5")
SETTLES = f"import weatherman.run.shortening as s\ns.steps_that_fit = lambda *_: {LAST_STEP}\n"
MUST_NOT = "import weatherman.run.shortening as s\ndef again(*_): raise AssertionError('settled again')\ns.steps_that_fit = again\n"
DIES = (
    "import os, signal\nfrom weatherman.run.run import Run\nreal = Run.{name}\n"
    "def die(self, *a, **k):\n    {before}\n    result = real(self, *a, **k)\n    {after}\n    return result\nRun.{name} = die\n"
)
KILL = "os.kill(os.getpid(), signal.SIGKILL)"
AT_STEP = "a[0].step == {step} and " + KILL
# Where a kill hits, and whether the end was settled and recorded by then.
KILLS = {
    "before it is settled": (DIES.format(name="record_step", before="pass", after=AT_STEP.format(step=2)), False),
    "after the save that is measured": (DIES.format(name="record_horizon", before=KILL, after="pass"), False),
    "once it is settled": (DIES.format(name="record_horizon", before="pass", after=KILL), True),
    "before the next save": (DIES.format(name="save", before="a[1].step == 5 and " + KILL, after="pass"), True),
    "later": (DIES.format(name="record_step", before="pass", after=AT_STEP.format(step=8)), True),
}


def record(run: Path) -> dict[str, Any]:
    return json.loads((run / "run.json").read_text())


@pytest.fixture(scope="module")
def whole(fault_runs: FaultRuns, tmp_path_factory: pytest.TempPathFactory) -> Path:
    run = tmp_path_factory.mktemp("budget") / "run"
    done = fault_runs.train(run, *BUDGET, prelude=SETTLES)
    assert done.returncode == 0, done.output
    assert f"[TRAINING-DEMO] The budget holds {LAST_STEP} of {CONFIGURED} steps: 1000 minutes" in done.output
    return run


def test_run_ends_at_the_settled_step_and_says_what_the_budget_did(whole: Path) -> None:
    assert sorted(step_losses(whole)) == list(range(1, LAST_STEP + 1))
    assert [event["step"] for event in read_events(whole, "checkpoint")] == [SETTLED_AT, 5, LAST_STEP]
    assert record(whole)["frozen"]["horizon"] == {"settled_at": SETTLED_AT, "settled": LAST_STEP}
    status = read_status(whole)
    assert (status.total, status.budget) == (LAST_STEP, f"{LAST_STEP} of {CONFIGURED} steps: 1000 minutes")
    (event,) = read_events(whole, "budget")
    assert (event["step"], event["total"]) == (SETTLED_AT, LAST_STEP)


def test_learning_rate_follows_the_settled_end(whole: Path) -> None:
    rates = {event["step"]: event["learning_rate"] for event in read_events(whole, "step")}
    for step, rate in rates.items():
        num_steps = CONFIGURED if step <= SETTLED_AT else LAST_STEP
        assert rate == learning_rate(step, num_steps=num_steps, base=5e-3, warmup_ratio=0.03, kind="cosine")


@pytest.mark.parametrize("place", KILLS)
def test_killed_and_resumed_it_keeps_to_the_same_end_bit_for_bit(
    fault_runs: FaultRuns, whole: Path, tmp_path: Path, place: str
) -> None:
    run = tmp_path / "run"
    prelude, settled = KILLS[place]
    assert fault_runs.train(run, *BUDGET, prelude=SETTLES + prelude).returncode == -signal.SIGKILL
    assert ("horizon" in record(run)["frozen"]) is settled
    done = fault_runs.train(run, *BUDGET, prelude=MUST_NOT if settled else SETTLES)
    assert done.returncode == 0, done.output
    if place != "after the save that is measured":  # there it goes on from step 4 and measures four more
        assert hashes(run / "adapter") == hashes(whole / "adapter")
        assert step_losses(run) == step_losses(whole)
    assert max(step_losses(run)) == LAST_STEP


def test_real_slow_run_stays_within_its_minutes_and_uses_them(fault_runs: FaultRuns, tmp_path: Path) -> None:
    run = tmp_path / "run"
    slow = (
        "import time\nimport weatherman.engine.torch.engine as m\nreal = m.TorchEngine.step\n"
        "def step(self, *a):\n    time.sleep(0.2)\n    return real(self, *a)\nm.TorchEngine.step = step\n"
    )
    minutes = 0.4
    done = fault_runs.train(run, "--set", f"max_minutes={minutes}", "--set", "max_steps=2000", prelude=slow)
    assert done.returncode == 0, done.output
    spent_s = read_spending(run).busy_s
    assert spent_s < 1.15 * 60 * minutes
    last = record(run)["frozen"]["horizon"]["settled"]
    assert SETTLED_AT < last < 2000
    assert max(step_losses(run)) == last
    assert (run / "adapter" / "adapter_model.safetensors").is_file()


def test_machine_that_becomes_slower_is_told_and_keeps_its_steps(fault_runs: FaultRuns, tmp_path: Path) -> None:
    run = tmp_path / "run"
    slower = "from weatherman.run.run import Run\nreal = Run.spent_s.fget\nRun.spent_s = property(lambda self: real(self) + (1e6 if self.last_step >= 6 else 0))\n"
    done = fault_runs.train(run, *BUDGET, prelude=SETTLES + slower)
    assert done.returncode == 0, done.output
    assert done.output.count("⚠️ WARNING: the machine became slower than it was measured to be") == 1
    assert max(step_losses(run)) == LAST_STEP


def test_budget_that_holds_no_step_is_refused_before_the_first(fault_runs: FaultRuns, tmp_path: Path) -> None:
    run = tmp_path / "run"
    done = fault_runs.train(run, "--set", "max_minutes=0.001")
    assert done.returncode == 1, done.output
    assert "❌ ERROR: the budget of 0.001 minutes holds no step" in done.output
    assert not step_losses(run)


def test_time_of_earlier_attempts_counts(fault_runs: FaultRuns, tmp_path: Path) -> None:
    run = tmp_path / "run"
    longer = "import weatherman.run.run as r\nfrom weatherman.run.spending import Spending\nr.read_spending = lambda *_: Spending(7000.0, None)\n"
    done = fault_runs.train(run, "--set", "max_minutes=100", prelude=longer)
    assert "❌ ERROR: the budget of 100 minutes holds no step" in done.output


def test_budget_cannot_lengthen_a_run(fault_runs: FaultRuns, tmp_path: Path) -> None:
    run = tmp_path / "run"
    done = fault_runs.train(run, "--set", "max_cost=900", "--set", "hourly_rate=1", "--set", "max_steps=6")
    assert done.returncode == 0, done.output
    assert "The budget holds 6 of 6 steps: $900.00 at $1 an hour" in done.output
