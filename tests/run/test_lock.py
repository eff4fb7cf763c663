from __future__ import annotations

import fcntl
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from command_line import wait_for
from run_folders import names
from weatherman.errors import WeathermanError
from weatherman.run import lock as module
from weatherman.run.lock import read_holder, run_lock
from weatherman.system.own_command import own_command
from weatherman.system.process import identity, is_suspended

_HOLD = """
import os, sys, time
from pathlib import Path
from weatherman.run.lock import run_lock
with run_lock(Path(sys.argv[1])):
    child = os.fork() if sys.argv[2] == "fork" else 1
    if child == 0:
        os.write(1, f"child {os.getpid()}\\n".encode())
    elif child == 1:
        os.write(1, b"held\\n")
    time.sleep(60)
"""


@contextmanager
def holder(folder: Path, mode: str = "plain") -> Iterator[subprocess.Popen[str]]:
    process = subprocess.Popen([sys.executable, "-c", _HOLD, str(folder), mode], stdout=subprocess.PIPE, text=True)
    try:
        yield process
    finally:
        process.kill()
        process.wait()


@contextmanager
def kernel_lock_only(folder: Path) -> Iterator[subprocess.Popen[str]]:
    """A process that asks the kernel alone, and exits with 1 if the lock is held."""
    code = "import fcntl, sys; fcntl.lockf(open(sys.argv[1], 'r+'), fcntl.LOCK_EX | fcntl.LOCK_NB)"
    yield subprocess.Popen([sys.executable, "-c", code, str(folder / "run.lock")], stderr=subprocess.DEVNULL, text=True)


def test_held_then_gone(tmp_path: Path) -> None:
    with run_lock(tmp_path):
        held = read_record(tmp_path)
        assert (held["pid"], held["process"]) == (os.getpid(), identity(os.getpid()))
    assert names(tmp_path) == []


def read_record(folder: Path) -> dict[str, object]:
    return json.loads((folder / "run.lock").read_text())


def test_second_trainer_is_told_who_holds_it(tmp_path: Path) -> None:
    with holder(tmp_path) as process:
        assert process.stdout is not None
        process.stdout.readline()
        with pytest.raises(WeathermanError) as caught, run_lock(tmp_path):
            pass
        assert caught.value.exit_code == 1
        assert f"another trainer works in {tmp_path}: process {process.pid} on " in caught.value.message
        assert caught.value.hint == f"look at it with: {own_command('status', str(tmp_path))}"
        process.send_signal(signal.SIGSTOP)
        while not is_suspended(process.pid):
            time.sleep(0.01)
        with pytest.raises(WeathermanError, match=f"suspended; kill -CONT {process.pid}"), run_lock(tmp_path):
            pass


def test_lock_dies_with_its_process(tmp_path: Path) -> None:
    with holder(tmp_path) as process:
        assert process.stdout is not None
        process.stdout.readline()
    assert names(tmp_path) == ["run.lock"]
    with run_lock(tmp_path):
        assert read_record(tmp_path)["pid"] == os.getpid()


def test_a_forked_child_that_lives_on_does_not_hold_it(tmp_path: Path) -> None:
    with holder(tmp_path, "fork") as process:
        assert process.stdout is not None
        child = int(process.stdout.readline().split()[1])
    try:
        assert identity(child) is not None
        with run_lock(tmp_path):
            assert read_record(tmp_path)["pid"] == os.getpid()
    finally:
        os.kill(child, signal.SIGKILL)


def test_same_process_twice(tmp_path: Path) -> None:
    with run_lock(tmp_path):
        with pytest.raises(WeathermanError, match="another trainer works"), run_lock(tmp_path):
            pass
        held = read_holder(tmp_path / "run.lock")
        assert held is not None
        assert held.pid == os.getpid()
        with kernel_lock_only(tmp_path) as process:  # neither the look nor the refused attempt did not lose the lock
            assert process.wait() == 1


def test_reused_pid_is_not_the_holder(tmp_path: Path) -> None:
    with run_lock(tmp_path):
        held = read_record(tmp_path)
    (tmp_path / "run.lock").write_text(json.dumps(held | {"pid": os.getppid()}))
    with run_lock(tmp_path):
        assert read_record(tmp_path)["pid"] == os.getpid()


@pytest.mark.parametrize("content", ["", "{", "[]", "{}", '{"pid": "x"}', "\0" * 1024, '{"host": 1, "pid": -1}'])
def test_unreadable_record_is_taken_over(tmp_path: Path, content: str) -> None:
    (tmp_path / "run.lock").write_text(content)
    with run_lock(tmp_path):
        assert read_record(tmp_path)["pid"] == os.getpid()


def test_another_machine_is_watched_for_a_beat(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with run_lock(tmp_path):
        record = read_record(tmp_path) | {"host": "elsewhere", "boot": "another"}
    path = tmp_path / "run.lock"
    path.write_text(json.dumps(record))
    with run_lock(tmp_path, patience_s=0.2):  # silent: dead
        pass
    path.write_text(json.dumps(record))

    def beat(seconds: float) -> None:
        path.write_text(json.dumps(record | {"beat": 1}))

    monkeypatch.setattr(module.time, "sleep", beat)
    with pytest.raises(WeathermanError, match="on elsewhere"), run_lock(tmp_path, patience_s=0.2):
        pass


def test_without_kernel_locks_the_record_decides(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def unsupported(fd: int, kind: int) -> None:
        raise OSError(95, "Operation not supported")

    with holder(tmp_path) as process:
        assert process.stdout is not None
        process.stdout.readline()
        monkeypatch.setattr(fcntl, "lockf", unsupported)
        with pytest.raises(WeathermanError, match=f"process {process.pid} on"), run_lock(tmp_path):
            pass
    monkeypatch.setattr(module, "_SETTLE_S", 0.01)
    with run_lock(tmp_path):
        record = read_record(tmp_path)
    assert record["pid"] == os.getpid()

    def other_wins(seconds: float) -> None:
        (tmp_path / "run.lock").write_text(json.dumps(record | {"pid": 1}))

    monkeypatch.setattr(module.time, "sleep", other_wins)
    with pytest.raises(WeathermanError, match="process 1 on"), run_lock(tmp_path):
        pass


def test_it_beats(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "BEAT_S", 0.01)
    with run_lock(tmp_path):
        first = read_record(tmp_path)
        wait_for(lambda: int(str(read_record(tmp_path)["beat"])) > int(str(first["beat"])))
        later = read_record(tmp_path)
    assert int(str(later["beat"])) > int(str(first["beat"])) >= 0
    assert later["pid"] == first["pid"] == os.getpid()


_RACE = """
import sys, time
from pathlib import Path
from weatherman.errors import WeathermanError
from weatherman.run.lock import run_lock
while time.time() < float(sys.argv[2]): pass
try:
    with run_lock(Path(sys.argv[1])):
        print("held", flush=True)
        while not Path(sys.argv[3]).exists(): time.sleep(0.01)
except WeathermanError:
    print("refused")
"""


def test_one_of_many_wins(tmp_path: Path) -> None:
    with run_lock(tmp_path):
        stale = read_record(tmp_path)
    (tmp_path / "run.lock").write_text(json.dumps(stale | {"pid": 2**22 - 1}))
    at, go = str(time.time() + 1.0), tmp_path.parent / "go"
    words = [sys.executable, "-c", _RACE, str(tmp_path), at, str(go)]
    racers = [subprocess.Popen(words, stdout=subprocess.PIPE, text=True) for _ in range(4)]
    wait_for(lambda: sum(racer.poll() is not None for racer in racers) >= 3)  # the winner holds it until all have tried
    go.touch()
    said = sorted(racer.communicate()[0].strip() for racer in racers)
    assert said == ["held", "refused", "refused", "refused"]


def test_read_only_folder_is_one_clear_error(tmp_path: Path) -> None:
    with pytest.raises(WeathermanError) as caught, run_lock(tmp_path / "gone"):
        pass
    assert caught.value.code == "run.lock-failed"


def test_file_that_was_replaced_before_it_was_locked_is_judged_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, real, calls = tmp_path / "run.lock", module._try_lock, []

    def slow(fd: int, lock: Path) -> bool:
        calls.append(fd)
        if len(calls) == 1:
            path.unlink()
            path.write_text("")
        return real(fd, lock)

    monkeypatch.setattr(module, "_try_lock", slow)
    with run_lock(tmp_path):
        assert len(calls) == 2
        assert read_record(tmp_path)["pid"] == os.getpid()
