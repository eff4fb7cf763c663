"""The crash-loop verdict through the real command line: three deaths at one place, and nothing else, give exit code 2."""

from __future__ import annotations

import json
import signal
from pathlib import Path

import pytest

from fault_runs import FaultRuns
from fork_server import Done
from weatherman.run.status import read_status

FEW = ("--set", "max_steps=9")
LOOP = "❌ ERROR: Crash loop detected: 3 starts in a row of "
DIE = "import os\ndef die(*a, **k):\n    os.kill(os.getpid(), 9)\n"
BEFORE_THE_MODEL = DIE + "import weatherman.train as t\nt.load_training_data = die\n"
LOADING = DIE + "import weatherman.engine.torch.engine as e\ne.TorchEngine.__init__ = die\n"
AT_STEP = DIE + (
    "import weatherman.engine.torch.engine as e\nreal = e.TorchEngine.step\n"
    "def step(self, plan, *a, **k):\n    return die() if plan.step == {step} else real(self, plan, *a, **k)\n"
    "e.TorchEngine.step = step\n"
)


def lives(fault_runs: FaultRuns, run: Path, *preludes: str) -> list[Done]:
    """Start the same run once per prelude."""
    return [fault_runs.train(run, *FEW, prelude=prelude) for prelude in preludes]


def codes(done: list[Done]) -> list[int]:
    return [one.returncode for one in done]


@pytest.mark.parametrize(
    "prelude", [BEFORE_THE_MODEL, LOADING, AT_STEP.format(step=1)], ids=["before the model", "loading", "step 1"]
)
def test_three_deaths_before_any_step_are_a_crash_loop(fault_runs: FaultRuns, tmp_path: Path, prelude: str) -> None:
    run = tmp_path / "run"
    done = lives(fault_runs, run, prelude, prelude, prelude, "", "")
    assert codes(done) == [-9, -9, -9, 2, 2]
    for one in done[3:]:
        assert one.output.startswith(f"{LOOP}{run} ended before step 1 was complete.")
        assert one.output.count("\n") == 1
    assert read_status(run).state == "crash-loop"
    assert fault_runs.server.run("status", run).returncode == 2
    assert json.loads((run / "resume_metadata.json").read_text())["finished"] is False


def test_crash_loop_in_the_middle_and_the_way_out(fault_runs: FaultRuns, tmp_path: Path) -> None:
    run, at_5 = tmp_path / "run", AT_STEP.format(step=5)
    done = lives(fault_runs, run, at_5, at_5, at_5, "")
    assert codes(done) == [-9, -9, -9, 2]
    assert "RESUME: Found checkpoint at step 3." in done[2].output
    assert f"{run} ended before step 5 was complete." in done[3].output
    assert "--reset-crash-loop" in done[3].output
    again = fault_runs.train(run, *FEW, "--reset-crash-loop")
    assert again.returncode == 0, again.output
    assert "RESUME: Found checkpoint at step 3." in again.output


def test_progress_between_the_deaths_sets_the_count_back(fault_runs: FaultRuns, tmp_path: Path) -> None:
    at_5, at_6 = AT_STEP.format(step=5), AT_STEP.format(step=6)
    done = lives(
        fault_runs, tmp_path / "run", at_5, LOADING, at_6, LOADING, AT_STEP.format(step=7), BEFORE_THE_MODEL, ""
    )
    assert codes(done) == [-9] * 6 + [0]


def test_deaths_at_alternating_steps_without_progress_are_a_crash_loop(fault_runs: FaultRuns, tmp_path: Path) -> None:
    at_5, at_4 = AT_STEP.format(step=5), AT_STEP.format(step=4)
    done = lives(fault_runs, tmp_path / "run", at_5, at_4, at_5, at_4)
    assert codes(done) == [-9, -9, -9, 2]
    assert "ended before step 5 was complete." in done[3].output


def test_unreadable_state_is_exit_1_and_never_resets_the_count(fault_runs: FaultRuns, tmp_path: Path) -> None:
    run = tmp_path / "run"
    lives(fault_runs, run, BEFORE_THE_MODEL, BEFORE_THE_MODEL)
    good = (run / "resume_metadata.json").read_bytes()
    (run / "resume_metadata.json").write_bytes(good[:-30])
    done = lives(fault_runs, run, "", "")
    assert codes(done) == [1, 1]
    assert "the crash-loop counter is kept there and is never reset silently" in done[1].output
    (run / "resume_metadata.json").write_bytes(good)
    assert codes(lives(fault_runs, run, BEFORE_THE_MODEL, "")) == [-9, 2]


def test_failures_that_are_told_count_and_are_quoted(fault_runs: FaultRuns, tmp_path: Path) -> None:
    boom = "import weatherman.train as t\ndef f(*a):\n    raise RuntimeError('CUDA error: out of luck')\nt.load_training_data = f\n"
    done = lives(fault_runs, tmp_path / "run", boom, boom, boom, "")
    assert codes(done) == [1, 1, 1, 2]
    assert "The last failure said: CUDA error: out of luck" in done[3].output


def test_stopping_on_purpose_never_counts(fault_runs: FaultRuns, tmp_path: Path) -> None:
    run = tmp_path / "run"
    stop = f"import os\nfrom weatherman.run.run import Run\nreal = Run.adopt_engine\ndef f(self, *a):\n    real(self, *a)\n    os.kill(os.getpid(), {int(signal.SIGTERM)})\nRun.adopt_engine = f\n"
    assert codes(lives(fault_runs, run, *[stop] * 4)) == [143] * 4
    state = json.loads((run / "resume_metadata.json").read_text())
    assert (state["resume_count"], state["last_step"], state["attempt"]) == (0, 0, 4)
