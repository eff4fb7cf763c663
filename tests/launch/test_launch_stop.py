"""Stop means stop through both scripts, with and without tmux, in the foreground: few steps are done of many."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from command_line import hashes, wait_for
from launching import Project, project, without_tmux

NUM_STEPS = 80
SETTINGS = ("--set", f"max_steps={NUM_STEPS}", "--set", "save_steps=1000", "--set", "eval_steps=null")
SCRIPTS = ("train_h100_runpod.sh", "train_m4_local.sh")


@pytest.fixture
def here(tmp_path: Path, tiny: Path) -> Iterator[Project]:
    with project(tmp_path / "place", tiny) as made:
        yield made


def assert_stopped_with_steps_left(here: Project, code: int) -> int:
    """One checkpoint, no adapter, most of the steps not done; gives the step."""
    stopped = here.last_step()
    assert 0 < stopped < NUM_STEPS
    (checkpoint,) = here.events("checkpoint")
    (stop,) = here.events("stop")
    assert checkpoint["step"] == stop["step"] == stopped
    assert stop["exit_code"] == code
    assert not (here.run_dir / "adapter").exists()
    return stopped


def assert_goes_on_to_the_end(here: Project, script: str, stopped: int) -> None:
    again = here.run("--foreground", *SETTINGS, script=script)
    assert again.returncode == 0, again.stdout
    assert f"⚠️ RESUME: Found checkpoint at step {stopped}. Resuming training." in again.stdout.splitlines()
    assert [event["step"] for event in here.events("step")] == list(range(1, NUM_STEPS + 1))
    assert hashes(here.run_dir / "adapter")


@pytest.mark.parametrize(
    ("script", "number", "code"),
    [
        (SCRIPTS[0], signal.SIGTERM, 143),
        (SCRIPTS[1], signal.SIGINT, 130),
        pytest.param(SCRIPTS[0], signal.SIGHUP, 129, marks=pytest.mark.slow),
    ],
)
def test_foreground(here: Project, script: str, number: signal.Signals, code: int) -> None:
    process = here.start("--foreground", *SETTINGS, script=script)
    wait_for(lambda: here.last_step() >= 1, process)
    process.send_signal(number)
    printed, _ = process.communicate(timeout=600)
    assert process.returncode == code, printed
    assert f"⚠️ WARNING: {number.name}: stopping after this step" in printed
    assert_goes_on_to_the_end(here, script, assert_stopped_with_steps_left(here, code))


@pytest.mark.parametrize("script", SCRIPTS)
def test_tmux_kill_session_as_documented(here: Project, script: str) -> None:
    done = here.run("--no-watch", *SETTINGS, script=script)
    assert done.returncode == 0, done.stdout
    assert "Stop, saved: tmux kill-session -t weatherman-training" in done.stdout
    wait_for(lambda: here.last_step() >= 1)
    here.tmux("kill-session", "-t", "weatherman-training")
    wait_for(lambda: here.record()["exit_code"] is not None)
    assert here.record()["exit_code"] == 129
    assert_stopped_with_steps_left(here, 129)


@pytest.mark.parametrize("number", [signal.SIGTERM, pytest.param(signal.SIGINT, marks=pytest.mark.slow)])
def test_without_tmux(here: Project, tmp_path: Path, number: signal.Signals) -> None:
    done = here.run("--no-watch", *SETTINGS, PATH=without_tmux(tmp_path))
    assert done.returncode == 0, done.stdout
    wait_for(lambda: here.last_step() >= 1)
    os.kill(here.record()["pid"], number)
    wait_for(lambda: here.record()["exit_code"] is not None)
    assert here.record()["exit_code"] == 128 + number
    assert_stopped_with_steps_left(here, 128 + number)
