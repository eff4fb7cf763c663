"""A watched start is never silent for long; the clock is the test's own, and events move it."""

from __future__ import annotations

import json
import os
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from weatherman.launch import first_steps
from weatherman.launch.first_steps import FirstSteps
from weatherman.launch.follow import Follower
from weatherman.launch.session_record import Job, SessionRecord, write_record
from weatherman.launch.still_here import StillHere
from weatherman.launch.watch import Expectation, Watch
from weatherman.system.process import identity

LONGEST_SILENCE_S = 20.0


def test_what_is_said_starts_the_silence_anew() -> None:
    still = StillHere(0.0)
    assert still.line(14.9) == ""
    assert still.line(15.0) == "Still starting the trainer (15 s)"
    assert still.line(20.0) == ""
    still.does("loading the model", 25.0)
    assert still.line(30.0) == "Still loading the model (5 s)"
    still.said(40.0)
    assert still.line(54.0) == ""
    assert still.line(125.0) == "Still loading the model (2 min)"


class Clock:
    """Time that passes only while the watcher sleeps; at given times something happens."""

    def __init__(self, happenings: dict[float, Any], printed: list[float]) -> None:
        self.now_s, self._waiting, self.printed = 0.0, sorted(happenings.items()), printed

    def monotonic(self) -> float:
        return self.now_s

    def sleep(self, seconds: float) -> None:
        self.now_s += seconds
        while self._waiting and self._waiting[0][0] <= self.now_s:
            self._waiting.pop(0)[1]()


def test_a_slow_start_is_told_at_least_every_twenty_seconds(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "logs").mkdir()
    (tmp_path / "run").mkdir()
    job = Job("t", "tmux", [], {}, str(tmp_path), str(tmp_path / "log"), str(tmp_path / "run"), "H100")
    events = tmp_path / "run" / "events.jsonl"
    pid = os.getpid()

    def record(exit_code: int | None) -> None:
        written = SessionRecord("t", "tmux", job.log, job.run, pid, identity(pid), exit_code=exit_code, cause="enough")
        write_record(job.record_path, written)

    def event(kind: str, **fields: Any) -> None:
        with events.open("a") as file:
            line = {"time": "2026-11-28T12:00:00.000+00:00", "attempt": 1, "kind": kind, **fields}
            file.write(json.dumps(line) + "\n")

    told: list[tuple[float, str]] = []
    happenings = {
        5.0: lambda: event("phase", message="reading the data"),
        130.0: lambda: event("phase", message="loading the model"),
        250.0: lambda: event("engine", device_name="a GPU"),
        300.0: lambda: event("step", step=1, loss=2.0, tokens_per_s=10.0, num_effective_tokens=100),
        370.0: lambda: event("step", step=2, loss=2.0, tokens_per_s=10.0, num_effective_tokens=100),
        400.0: lambda: record(1),
    }
    clock = Clock(happenings, [])
    monkeypatch.setattr(first_steps, "time", clock)
    monkeypatch.setattr(first_steps.messages, "say", lambda tag, text: told.append((clock.now_s, text)))
    monkeypatch.setattr(first_steps.messages, "error", lambda problem: told.append((clock.now_s, str(problem))))
    record(None)
    watch = Watch(Expectation(silence_s=1e9))
    code = FirstSteps(
        job,
        watch,
        Follower(events),
        Follower(tmp_path / "log"),
        "stop",
        began_s=0.0,
        _still=StillHere(0.0),
    ).follow()
    assert code == 1
    times = [0.0, *(when for when, _ in told)]
    assert max(later - earlier for earlier, later in pairwise(times)) <= LONGEST_SILENCE_S
    lines = [text for _, text in told]
    assert "Still reading the data (15 s)" in lines
    assert any(line.startswith("Still loading the model (") for line in lines)
    assert any(line.startswith("Still training, step 1 is done (") for line in lines)
