"""Disks that are full, read-only, limited or gone, at each phase of a run; and clocks that are set."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from fault_runs import FaultRuns
from fork_server import Done
from syscall_walk import trace
from weatherman import messages
from weatherman.run.status import read_status

SIZE_MB = 80  # above the margin that a save asks for
FILL = """
def fill():
    with open({ballast!r}, "wb", buffering=0) as file:
        try:
            while True:
                file.write(b"x" * 65536)
        except OSError:
            pass
def before(owner, name):
    real = getattr(owner, name)
    def call(*a, **k):
        fill()
        return real(*a, **k)
    setattr(owner, name, call)
"""
PHASES = {
    "after step 5": ("import weatherman.checkpoints.resume as m\nreal = m.record_step\ndef f(o, s, n):\n    real(o, s, n)\n"
                     "    n == 5 and fill()\nm.record_step = f\n", "the next checkpoint asks for"),
    "in the save": ("import weatherman.checkpoints.checkpoint as m\nreal = m.check_free_space\ndef f(*a):\n    real(*a)\n"
                    "    fill()\nm.check_free_space = f\n", "could not be written to"),
    "in the effect": ("import weatherman.train as m\nbefore(m, 'measure_effect')\n", "No space left on device"),
    "in the final adapter": ("import weatherman.train as m\nbefore(m, 'save_final_adapter')\n", "No space left on device"),
}  # fmt: skip


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    place = tmp_path / "small disk"
    place.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={SIZE_MB}m", "none", str(place)], check=False).returncode:
        pytest.skip("a file system cannot be mounted here")
    yield place
    subprocess.run(["umount", "-l", str(place)], check=True)


def assert_told(done: Done, words: str) -> None:
    assert done.returncode == 1, done.output
    lines = done.output.splitlines()
    assert [line for line in lines if not messages.LINE.match(line)] == []
    assert lines[-1].startswith("❌ ERROR: ")
    assert words in lines[-1]
    assert "unexpected" not in lines[-1]
    assert " Hint: " in lines[-1]


@pytest.mark.parametrize("phase", PHASES)
def test_full_disk_is_told_and_nothing_is_lost(fault_runs: FaultRuns, small_disk: Path, phase: str) -> None:
    run, ballast = small_disk / "run", small_disk / "ballast"
    prelude, words = PHASES[phase]
    done = fault_runs.train(run, prelude=FILL.format(ballast=str(ballast)) + prelude)
    assert_told(done, words)
    assert list(small_disk.rglob(".staging*")) == []
    ballast.unlink()
    again = fault_runs.train(run)
    assert again.returncode == 0, again.output
    assert phase == "in the save" or "RESUME: Found checkpoint at step" in again.output
    assert fault_runs.difference(run) == ""


def test_disk_that_is_full_from_the_start(fault_runs: FaultRuns, small_disk: Path) -> None:
    (small_disk / "run").mkdir()
    scope: dict[str, Callable[[], None]] = {}
    exec(FILL.format(ballast=str(small_disk / "ballast")), scope)
    scope["fill"]()
    assert_told(fault_runs.train(small_disk / "run"), "No space left on device")


def test_limit_on_the_size_of_files(fault_runs: FaultRuns, tmp_path: Path) -> None:
    limit = "import resource\nresource.setrlimit(resource.RLIMIT_FSIZE, (8000, resource.RLIM_INFINITY))\n"
    done = fault_runs.train(tmp_path / "run", prelude=limit)
    assert_told(done, "File too large")
    assert fault_runs.train(tmp_path / "run").returncode == 0
    assert fault_runs.difference(tmp_path / "run") == ""


def test_folder_that_is_mounted_read_only_in_mid_run(fault_runs: FaultRuns, small_disk: Path) -> None:
    """A remount needs that nobody has a file open for writing, so the folder is mounted once more, over itself."""
    run = small_disk / "run"
    remount = (
        "import subprocess\nimport weatherman.checkpoints.resume as m\nreal = m.record_step\ndef f(o, s, n):\n    real(o, s, n)\n"
        f"    for how in (['--bind', {str(small_disk)!r}], ['-o', 'remount,ro,bind']) if n == 5 else ():\n"
        f"        subprocess.run(['mount', *how, {str(small_disk)!r}], check=True)\nm.record_step = f\n"
    )
    done = fault_runs.train(run, prelude=remount)
    try:
        assert_told(done, "Read-only file system")
        assert "Read-only file system" in fault_runs.train(run).output
    finally:
        subprocess.run(["umount", str(small_disk)], check=True)
    again = fault_runs.train(run)
    assert again.returncode == 0, again.output
    assert "RESUME: Found checkpoint at step 3." in again.output
    assert fault_runs.difference(run) == ""


@pytest.mark.skipif(shutil.which("strace") is None, reason="needs strace")
def test_quota_that_is_used_up(fault_runs: FaultRuns, tmp_path: Path) -> None:
    run = fault_runs.died("step 11", tmp_path / "run")
    done = trace(fault_runs, run, tmp_path / "log", "fsync:error=EDQUOT:when=9+")  # network volumes tell it there
    assert_told(done, "Disk quota exceeded")
    assert "could not be written" in done.output
    assert fault_runs.train(run).returncode == 0
    assert fault_runs.difference(run) == ""


@pytest.mark.skipif(shutil.which("strace") is None, reason="needs strace")
def test_file_system_that_turns_read_only(fault_runs: FaultRuns, tmp_path: Path) -> None:
    run = fault_runs.died("step 11", tmp_path / "run")
    done = trace(fault_runs, run, tmp_path / "log", "mkdir,rename,unlink:error=EROFS:when=1+")
    assert_told(done, "Read-only file system")
    assert fault_runs.train(run).returncode == 0
    assert fault_runs.difference(run) == ""


def test_run_folder_deleted_in_mid_run(fault_runs: FaultRuns, tmp_path: Path) -> None:
    run = tmp_path / "run"
    delete = (
        "import shutil\nimport weatherman.checkpoints.resume as m\nreal = m.record_step\n"
        f"def f(o, s, n):\n    real(o, s, n)\n    n == 5 and shutil.rmtree({str(run)!r})\nm.record_step = f\n"
    )
    assert_told(fault_runs.train(run, prelude=delete), "deleted or moved")
    assert not run.exists()


@pytest.mark.parametrize("shift_s", [-2 * 86400, 400 * 86400])
def test_clock_that_is_set_in_mid_run_changes_nothing(fault_runs: FaultRuns, tmp_path: Path, shift_s: int) -> None:
    run = tmp_path / "run"
    prelude = (
        "import datetime, os, signal, time\nfrom weatherman.run import events, lock as run_lock; from weatherman.checkpoints import resume\n"
        f"real_time, real_step, shift = time.time, resume.record_step, [0]\n"
        "def now():\n    moment = datetime.datetime.now(datetime.timezone.utc) + datetime.timedelta(seconds=shift[0])\n"
        "    return moment.isoformat(timespec='milliseconds')\n"
        "for module in (events, resume, run_lock):\n    module.now_utc = now\n"
        "time.time = lambda: real_time() + shift[0]\n"
        f"def f(o, s, n):\n    shift[0] = {shift_s} * (n >= 5)\n    real_step(o, s, n)\n"
        "    n == 8 and os.kill(os.getpid(), signal.SIGSTOP)\nresume.record_step = f\n"
    )
    life = fault_runs.start(run, prelude=prelude)
    while not (run / "progress.json").exists() or '"last_step": 8' not in (run / "progress.json").read_text():
        assert life.poll(0.05) is None, life.output()
    status = read_status(run)
    assert status.age_s is not None
    assert status.age_s < 600
    assert status.state in ("running", "stalled")  # stopped by us, or on the way there
    while life.poll(0.05) is None:
        life.send(18)
    assert life.wait().returncode == 0
    assert fault_runs.difference(run) == ""
