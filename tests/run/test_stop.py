"""A stop signal stops: in every place of a run, with steps left, by each signal, and the same command goes on from there."""

from __future__ import annotations

import json
import signal
from pathlib import Path
from typing import Any

import pytest

from command_line import read_events
from fault_runs import FaultRuns
from fork_server import Life, wait_until
from weatherman.checkpoints.resume import read_resume

SIGNALS = [(signal.SIGTERM, 143), (signal.SIGINT, 130), (signal.SIGHUP, 129)]
NUM_STEPS = 12

HOLD = """
import pathlib, time
def hold():
    pathlib.Path({here!r}).touch()
    while not pathlib.Path({go!r}).exists():
        time.sleep(0.002)
def holding(owner, name, when):
    real = getattr(owner, name)
    def held(*arguments, **named):
        if when(*arguments, **named):
            hold()
        return real(*arguments, **named)
    setattr(owner, name, held)
"""
# Where the signal arrives, the code that waits there, the last step that is done, and the checkpoints that are left.
PLACES = {
    "in a step": ("import weatherman.engine.torch.engine as m\nholding(m.TorchEngine, 'step', lambda e, plan, rate: plan.step == 5)\n", 5, [3, 5]),
    "between steps": ("import weatherman.progress as m\nholding(m.ProgressDisplay, 'step', lambda s, step, *_: step == 4)\n", 4, [3, 4]),
    "in a save": ("import weatherman.run.run as m\nholding(m, 'save_checkpoint', lambda folder, step, *_, **__: step == 6)\n", 6, [3, 6]),
    "in a validation": ("import weatherman.engine.torch.engine as m\nholding(m.TorchEngine, 'evaluate', lambda *_, **__: True)\n", 5, [3, 5]),
}  # fmt: skip


def held(fault_runs: FaultRuns, run: Path, prelude: str) -> tuple[Life, Path]:
    """Start a run that waits at a place; gives it, arrived there, and the file that lets it go on."""
    here, go = run.parent / "here", run.parent / "go"
    life = fault_runs.start(run, prelude=HOLD.format(here=str(here), go=str(go)) + prelude)
    assert wait_until(here.exists, life), life.output()
    return life, go


def status(run: Path) -> dict[str, Any]:
    return json.loads((run / "status.json").read_text())


@pytest.mark.parametrize(("number", "code"), SIGNALS)
@pytest.mark.parametrize("place", PLACES)
def test_first_signal_ends_the_run_after_the_step_at_hand(
    fault_runs: FaultRuns, tmp_path: Path, place: str, number: signal.Signals, code: int
) -> None:
    run = tmp_path / "run"
    prelude, last_step, checkpoints = PLACES[place]
    life, go = held(fault_runs, run, prelude)
    life.send(number)
    words = f"{number.name}: stopping after this step"
    assert wait_until(lambda: status(run)["message"] == words, life)  # at once, whatever it is busy with
    assert wait_until(lambda: f"⚠️ WARNING: {words}; a second signal leaves at once" in life.output(), life)
    assert status(run)["state"] == "running"
    go.touch()
    done = life.wait()
    assert done.returncode == code, done.output
    assert f"⚠️ WARNING: Stopped by a signal after step {last_step}, and saved; the same command goes on." in done.output
    assert [event["step"] for event in read_events(run, "step")] == list(range(1, last_step + 1))
    assert [event["step"] for event in read_events(run, "checkpoint")] == checkpoints
    assert (status(run)["state"], status(run)["exit_code"], status(run)["step"]) == ("stopped", code, last_step)
    assert not (run / "adapter").exists()
    again = fault_runs.train(run)
    assert again.returncode == 0, again.output
    assert f"RESUME: Found checkpoint at step {last_step}." in again.output
    assert fault_runs.difference(run) == ""


@pytest.mark.parametrize(("number", "code"), SIGNALS)
def test_before_the_first_step_it_leaves_at_once_and_counts_as_no_crash(
    fault_runs: FaultRuns, tmp_path: Path, number: signal.Signals, code: int
) -> None:
    run = tmp_path / "run"
    prelude = "import weatherman.train as m\nholding(m, 'load_training_data', lambda *_: True)\n"
    for _ in range(4):  # more often than a crash loop allows
        life, _go = held(fault_runs, run, prelude)
        (tmp_path / "here").unlink()
        life.send(number)
        done = life.wait()
        assert done.returncode == code, done.output
        assert "⚠️ WARNING: Stopped before the first step; the same command goes on." in done.output
        assert (status(run)["state"], status(run)["exit_code"]) == ("stopped", code)
    assert not list(run.glob("checkpoint-*"))
    state = read_resume(run)
    assert state is not None
    assert (state.resume_count, state.last_error) == (0, None)
    assert fault_runs.train(run).returncode == 0
    assert fault_runs.difference(run) == ""


@pytest.mark.parametrize(("number", "code"), SIGNALS)
def test_while_the_effect_is_measured_the_finished_adapter_is_kept(
    fault_runs: FaultRuns, tmp_path: Path, number: signal.Signals, code: int
) -> None:
    run = tmp_path / "run"
    prelude = "import weatherman.train as m\nholding(m, 'measure_effect', lambda *_, adapter: adapter)\n"
    life, _go = held(fault_runs, run, prelude)
    weights = (run / "adapter" / "adapter_model.safetensors").read_bytes()
    life.send(number)
    done = life.wait()
    assert done.returncode == code, done.output
    assert f"Stopped while measuring the effect; the adapter in {run / 'adapter'} is whole" in done.output
    assert (run / "adapter" / "adapter_model.safetensors").read_bytes() == weights
    assert "was not measured" in (run / "adapter" / "README.md").read_text()
    assert status(run)["state"] == "stopped"
    again = fault_runs.train(run)
    assert again.returncode == 0, again.output
    assert [event["step"] for event in read_events(run, "step")] == list(range(1, NUM_STEPS + 1))  # none is done again
    assert fault_runs.difference(run) == ""


@pytest.mark.parametrize(("number", "code"), SIGNALS)
def test_second_signal_leaves_at_once_with_the_code_of_the_first_and_loses_no_checkpoint(
    fault_runs: FaultRuns, tmp_path: Path, number: signal.Signals, code: int
) -> None:
    run = tmp_path / "run"
    life, _go = held(fault_runs, run, PLACES["in a step"][0])  # it never goes on by itself
    life.send(number)
    assert wait_until(lambda: "stopping after this step" in status(run)["message"], life)
    life.send(signal.SIGINT if number is not signal.SIGINT else signal.SIGTERM)
    done = life.wait()
    assert done.returncode == code, done.output
    assert "⚠️ WARNING: Stopped at once, without saving; the same command goes on." in done.output
    assert (status(run)["state"], status(run)["exit_code"]) == ("stopped", code)
    assert [event["step"] for event in read_events(run, "checkpoint")] == [3]
    assert not (run / "run.lock").exists()
    again = fault_runs.train(run)
    assert "RESUME: Found checkpoint at step 3." in again.output
    assert fault_runs.difference(run) == ""


def test_signal_in_the_last_step_still_counts_as_a_stop(fault_runs: FaultRuns, tmp_path: Path) -> None:
    run = tmp_path / "run"
    prelude = PLACES["in a step"][0].replace("== 5", f"== {NUM_STEPS}")
    life, go = held(fault_runs, run, prelude)
    life.send(signal.SIGTERM)
    assert wait_until(lambda: "stopping" in status(run)["message"], life)
    go.touch()
    assert life.wait().returncode == 143
    assert [event["step"] for event in read_events(run, "checkpoint")] == [3, 6, 9, 12]
    assert fault_runs.train(run).returncode == 0
    assert fault_runs.difference(run) == ""
