"""Signals: asked once, asked twice, suspended, killed as the kernel kills when memory runs out."""

from __future__ import annotations

import json
import signal
import time
from pathlib import Path

import pytest

from fault_runs import FaultRuns
from fork_server import wait_until
from weatherman.run.status import read_status


def at_step(run: Path, step: int) -> bool:
    path = run / "progress.json"
    return path.exists() and json.loads(path.read_text())["last_step"] >= step


@pytest.mark.parametrize("minutes", [0, pytest.param(1, marks=pytest.mark.slow)])
def test_suspended_run_is_stalled_and_goes_on_when_told(fault_runs: FaultRuns, tmp_path: Path, minutes: int) -> None:
    run = tmp_path / "run"
    stop = (
        "import os, signal\nfrom weatherman.checkpoints import resume\nreal = resume.record_step\n"
        "def f(o, s, n):\n    real(o, s, n)\n    n == 5 and os.kill(os.getpid(), signal.SIGSTOP)\nresume.record_step = f\n"
    )
    life = fault_runs.start(run, prelude=stop)
    assert wait_until(lambda: at_step(run, 5) and read_status(run).state == "stalled", life)
    status = read_status(run)
    assert status.reason == f"process {life.pid} is suspended"
    assert status.next_action == f"kill -CONT {life.pid}"
    time.sleep(60 * minutes)
    assert read_status(run).state == "stalled"
    life.send(signal.SIGCONT)
    assert life.wait().returncode == 0
    assert fault_runs.difference(run) == ""


def test_death_by_lack_of_memory_is_told_as_such_with_advice(fault_runs: FaultRuns, tmp_path: Path) -> None:
    run = fault_runs.died("step 11", tmp_path / "run")
    status = read_status(run)
    assert (status.state, status.last_verified_checkpoint) == ("dead", "checkpoint-9")
    assert status.step in (10, 11)  # it died between writing its progress and its status
    assert "exit code 137" in status.reason
    assert "weatherman plan" in status.reason
    assert "weatherman train --config " in status.next_action


def test_stale_lock_of_a_dead_trainer_is_taken_over(fault_runs: FaultRuns, tmp_path: Path) -> None:
    run = fault_runs.died("step 11", tmp_path / "run")
    assert (run / "run.lock").is_file()
    done = fault_runs.train(run)
    assert done.returncode == 0, done.output
    assert not (run / "run.lock").exists()


def test_lock_of_a_living_trainer_is_respected(fault_runs: FaultRuns, tmp_path: Path) -> None:
    run = tmp_path / "run"
    hold = "import os, signal\nimport weatherman.train as t\nt.load_training_data = lambda c: os.kill(os.getpid(), signal.SIGSTOP)\n"
    first = fault_runs.start(run, prelude=hold)
    assert wait_until(lambda: (run / "status.json").exists(), first)
    second = fault_runs.server.start_true(*fault_runs.command(run)).wait()
    assert second.returncode == 1
    assert second.output.startswith(f"❌ ERROR: another trainer works in {run}: process {first.pid} on ")
    first.send()
    assert first.wait().returncode == -9
