"""Run the real command line in a process of its own."""

from __future__ import annotations

import hashlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

WEATHERMAN = [sys.executable, "-m", "weatherman.cli"]


def environment(cache: Path, **extra: str) -> dict[str, str]:
    """A child's environment: one thread, no network, a cache of the test's own."""
    return {**os.environ, "WEATHERMAN_CACHE": str(cache), "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1", **extra}


def weatherman(
    *arguments: object, cache: Path, timeout_s: float = 600, **extra: str
) -> subprocess.CompletedProcess[str]:
    """Run one command to its end; output is text, standard error apart."""
    return subprocess.run(
        [*WEATHERMAN, *map(str, arguments)], env=environment(cache, **extra), capture_output=True, text=True,
        timeout=timeout_s, check=False,
    )  # fmt: skip


def hear_signals() -> None:
    """A shell starts background jobs deaf to SIGINT, and nohup to SIGHUP; this process and its children hear both."""
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGHUP, signal.SIG_DFL)


def start(*arguments: object, cache: Path, **extra: str) -> subprocess.Popen[str]:
    """Start a command and go on."""
    return subprocess.Popen(
        [*WEATHERMAN, *map(str, arguments)], env=environment(cache, **extra), stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT, text=True,
    )  # fmt: skip


def wait_for(
    condition: Callable[[], bool], process: subprocess.Popen[str] | None = None, timeout_s: float = 600
) -> None:
    """Wait until something holds; fail if the process ends first."""
    until_s = time.monotonic() + timeout_s
    while not condition():
        if process is not None and process.poll() is not None and not condition():
            said = process.stdout.read() if process.stdout else ""
            raise AssertionError(f"the process ended with {process.returncode}: {said}")
        if time.monotonic() > until_s:
            raise AssertionError("it did not happen in time")
        time.sleep(0.005)


def read_events(run: Path, kind: str | None = None) -> list[dict[str, Any]]:
    """The events of a run, torn lines left out."""
    path = run / "events.jsonl"
    events = []
    for line in path.read_text().splitlines() if path.exists() else []:
        try:
            events.append(json.loads(line))
        except ValueError:
            continue
    return [event for event in events if kind in (None, event["kind"])]


def step_losses(run: Path) -> dict[int, float]:
    """The loss of each step; a step that was run twice must have given the same loss both times."""
    losses: dict[int, float] = {}
    for event in read_events(run, "step"):
        assert losses.setdefault(event["step"], event["loss"]) == event["loss"], f"step {event['step']} differs"
    return losses


def hashes(folder: Path) -> dict[str, str]:
    """SHA-256 of every file of a folder."""
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in sorted(folder.iterdir())}
