from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator

import pytest

from weatherman.system.clock import boot_id, now_utc, since_boot_s
from weatherman.system.process import identity, is_suspended


@pytest.fixture(params=["linux", "darwin"])
def platform(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Both ways to ask: /proc, and `ps` as on macOS."""
    boot_id()
    monkeypatch.setattr(sys, "platform", request.param)
    return str(request.param)


@pytest.fixture
def child() -> Iterator[subprocess.Popen[bytes]]:
    process = subprocess.Popen(["sleep", "60"])
    yield process
    process.kill()
    process.wait()


def test_identity_is_stable_and_each_process_has_its_own(platform: str, child: subprocess.Popen[bytes]) -> None:
    assert identity(child.pid) == identity(child.pid)
    assert len({identity(child.pid), identity(os.getpid()), identity(os.getppid())}) == 3
    assert str(identity(child.pid)).startswith(f"{boot_id()}:{child.pid}:")


def test_gone_and_zombies_have_none(platform: str, child: subprocess.Popen[bytes]) -> None:
    child.kill()
    os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)
    assert identity(child.pid) is None
    child.wait()
    assert identity(child.pid) is None


def test_suspended(platform: str, child: subprocess.Popen[bytes]) -> None:
    assert not is_suspended(child.pid)
    child.send_signal(signal.SIGSTOP)
    until_s = time.monotonic() + 300
    while not is_suspended(child.pid) and time.monotonic() < until_s:
        time.sleep(0.01)
    assert is_suspended(child.pid)
    assert identity(child.pid) is not None
    assert not is_suspended(2**22 - 1)


def test_without_ps_nothing_is_known(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "platform", "darwin")
    monkeypatch.setenv("PATH", "/nonexistent")
    assert identity(os.getpid()) is None


def test_clock_since_boot_is_shared_by_processes() -> None:
    command = [sys.executable, "-c", "from weatherman.system.clock import *; print(since_boot_s(), boot_id())"]
    before = since_boot_s()
    told, boot = subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()
    assert before < float(told) < since_boot_s()
    assert boot == boot_id()
    assert now_utc().endswith("+00:00")
