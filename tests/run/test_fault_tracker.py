"""Trackers that fail, hang or lose their server: the run never notices."""

from __future__ import annotations

import http.server
import shutil
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from command_line import read_events
from fault_runs import FaultRuns

FAKE = """
import sys, time, types
import weatherman.run.trackers as trackers
import weatherman.run.tracking as tracking
tracking._LOG_PATIENCE_S = tracking._FINISH_PATIENCE_S = 0.5
trackers.wandb_mode = lambda: ("online", "")
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
fake.init, fake.Settings, fake.Table = init, lambda **k: None, lambda **k: None
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


@contextmanager
def server(how: str) -> Iterator[str]:
    """A tracker's server that answers each request with an error, drops the connection, or does not answer."""
    over = threading.Event()

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            if how == "error":
                self.send_error(500)
            elif how == "garbage":
                self.wfile.write(b"\x00\xff" * 1000)
            elif how == "silent":
                over.wait(120)
            self.close_connection = True

        do_GET = do_PUT = do_POST

        def log_message(self, *args: object) -> None:
            pass

    found = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    found.daemon_threads = True
    threading.Thread(target=found.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{found.server_port}"
    over.set()
    found.shutdown()


@pytest.mark.slow
@pytest.mark.parametrize("how", ["error", "drops", "garbage", "silent"])
def test_real_tracker_whose_server_misbehaves(fault_runs: FaultRuns, tmp_path: Path, how: str) -> None:
    pytest.importorskip("wandb")
    run = tmp_path / "run"
    with server(how) as url:
        environment = {"WANDB_BASE_URL": url, "WANDB_API_KEY": "0" * 40, "HOME": str(tmp_path)}
        done = fault_runs.train(run, "--set", "report_to=wandb", **environment)
    assert done.returncode == 0, done.output
    warnings = [line for line in done.output.splitlines() if "WARNING" in line]
    assert len(warnings) == 1
    assert "events.jsonl has every metric" in warnings[0]
    shutil.rmtree(run / "wandb", ignore_errors=True)
    assert fault_runs.difference(run) == ""


def test_real_tracker_whose_server_is_down(fault_runs: FaultRuns, tmp_path: Path) -> None:
    pytest.importorskip("wandb")
    run = tmp_path / "run"
    environment = {"WANDB_BASE_URL": "http://127.0.0.1:9", "WANDB_API_KEY": "0" * 40, "HOME": str(tmp_path)}
    done = fault_runs.train(run, "--set", "report_to=wandb", **environment)
    assert done.returncode == 0, done.output
    assert "⚠️ WARNING: W&B runs offline: http://127.0.0.1:9 cannot be reached. Later: wandb sync " in done.output
    assert list((run / "wandb").glob("offline-run-*"))
    shutil.rmtree(run / "wandb")
    assert fault_runs.difference(run) == ""
