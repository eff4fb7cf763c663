"""Trackers that fail, hang or lose their server: the run never notices."""

from __future__ import annotations

from pathlib import Path

import pytest

from command_line import read_events
from fault_runs import FaultRuns

FAKE = """
import sys, time, types
import weatherman.tracking as tracking
tracking._LOG_PATIENCE_S = tracking._FINISH_PATIENCE_S = 0.5
tracking.wandb_mode = lambda: ("online", "")
calls = []
class Run:
    url = "http://127.0.0.1/run"
    def log(self, metrics, step):
        calls.append(step)
        if {log!r} and len(calls) > 2:
            return misbehave({log!r})
    def finish(self, exit_code):
        misbehave({finish!r})
def misbehave(how):
    if how == "hangs":
        time.sleep(3600)
    if how:
        raise ConnectionResetError(104, "Connection reset by peer")
def init(**k):
    misbehave({init!r})
    return Run()
fake = types.ModuleType("wandb")
fake.init, fake.Settings = init, lambda **k: None
sys.modules["wandb"] = fake
"""


@pytest.mark.parametrize(
    ("init", "log", "finish"),
    [("drops", "", ""), ("", "drops", ""), ("", "hangs", ""), ("", "", "drops"), ("", "", "hangs")],
)
def test_tracker_that_misbehaves_never_stops_a_run(
    fault_runs: FaultRuns, tmp_path: Path, init: str, log: str, finish: str
) -> None:
    run = tmp_path / "run"
    prelude = FAKE.format(init=init, log=log, finish=finish)
    done = fault_runs.train(run, "--set", "report_to=wandb", prelude=prelude)
    assert done.returncode == 0, done.output
    warnings = [line for line in done.output.splitlines() if "WARNING" in line]
    assert len(warnings) == 1
    assert "events.jsonl has every metric" in warnings[0]
    assert ("no answer" in warnings[0]) == ("hangs" in (log, finish))
    assert len(read_events(run, "step")) == 12
    assert fault_runs.difference(run) == ""
