"""scripts/check_training_status.sh: W&B's view through a local server, and the run's own folder."""

from __future__ import annotations

import base64
import http.server
import json
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from machines import ROOT, assert_grammar
from weatherman.run.events import EventLog, StatusFile
from weatherman.run.wandb_status import api_key, parse_run

KEY = "k" * 40
RUN = {
    "state": "running",
    "heartbeatAt": "2026-01-02T03:04:05Z",
    "summaryMetrics": json.dumps({"_step": 120, "train/loss": 1.25}),
}


@contextmanager
def server(run: Any, status: int = 200) -> Iterator[tuple[str, list[tuple[str, Any]]]]:
    """W&B's API as far as it is asked; yields its address and the requests: authorization and variables."""
    asked: list[tuple[str, Any]] = []

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            asked.append((self.headers["Authorization"], body["variables"]))
            answer = json.dumps({"data": {"project": {"run": run}}}).encode()
            self.send_response(status)
            self.send_header("Content-Length", str(len(answer)))
            self.end_headers()
            self.wfile.write(answer)

        def log_message(self, *args: object) -> None:
            pass

    found = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=found.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{found.server_port}", asked
    finally:
        found.shutdown()
        found.server_close()


def check(cwd: Path, *arguments: str, **environ: str) -> subprocess.CompletedProcess[str]:
    base = {"PATH": "/usr/bin:/bin", "HOME": str(cwd), "WANDB_BASE_URL": "http://127.0.0.1:9"}
    return subprocess.run(
        [str(ROOT / "scripts/check_training_status.sh"), *arguments],
        cwd=cwd, env={**base, **environ}, capture_output=True, text=True, check=False, timeout=600,
    )  # fmt: skip


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A finished run that was recorded at W&B, in a folder with a space."""
    run = tmp_path / "runs" / "my run"
    run.mkdir(parents=True)
    EventLog(run, 1).emit("tracker", tracker="wandb", url="https://wandb.ai/me/weather/runs/abc123")
    StatusFile(run, 1).write(state="finished", step=7, total=7, exit_code=0, message="finished")
    return tmp_path


def test_a_run_elsewhere_is_asked_of_the_server(tmp_path: Path) -> None:
    with server(RUN) as (url, asked):
        done = check(tmp_path, "me/weather/abc123", WANDB_API_KEY=KEY, WANDB_BASE_URL=url)
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout == "[STATUS] W&B: running, step 120, loss 1.2500, last heard 2026-01-02T03:04:05Z\n"
    expected = "Basic " + base64.b64encode(f"api:{KEY}".encode()).decode()
    assert asked == [(expected, {"entity": "me", "project": "weather", "name": "abc123"})]


@pytest.mark.parametrize(("state", "code"), [("finished", 0), ("crashed", 1), ("failed", 1), ("killed", 1)])
def test_what_went_wrong_elsewhere_is_exit_1(state: str, code: int, tmp_path: Path) -> None:
    with server({**RUN, "state": state, "summaryMetrics": None}) as (url, _):
        address = "https://wandb.ai/me/weather/runs/abc123"
        assert check(tmp_path, address, WANDB_API_KEY=KEY, WANDB_BASE_URL=url).returncode == code


def test_a_run_here_is_shown_from_both(folder: Path) -> None:
    with server(RUN) as (url, _):
        done = check(folder, "runs/my run", WANDB_API_KEY=KEY, WANDB_BASE_URL=url)
    assert done.returncode == 0, done.stdout + done.stderr
    assert_grammar(done.stdout)
    lines = done.stdout.splitlines()
    assert lines[0].endswith("(https://wandb.ai/me/weather/runs/abc123)")
    assert "finished" in lines[1]


@pytest.mark.parametrize("key", ["", KEY])
def test_without_key_or_network_the_folder_is_enough(folder: Path, key: str) -> None:
    done = check(folder, WANDB_API_KEY=key)
    assert done.returncode == 0, done.stdout + done.stderr
    assert_grammar(done.stdout)
    assert done.stdout.startswith("⚠️ WARNING: W&B cannot be asked: ")
    assert "finished" in done.stdout
    assert KEY not in done.stdout


def test_json_is_the_folder_s_alone(folder: Path) -> None:
    record = json.loads(check(folder, "runs/my run", "--json").stdout)
    assert record["state"] == "finished"


@pytest.mark.parametrize(
    ("run", "status"), [(None, 200), (RUN, 500), ("odd", 200), ({"state": "x", "summaryMetrics": "{"}, 200)]
)
def test_odd_answers_are_one_error_line(run: Any, status: int, tmp_path: Path) -> None:
    with server(run, status) as (url, _):
        done = check(tmp_path, "me/weather/abc123", WANDB_API_KEY=KEY, WANDB_BASE_URL=url)
    assert done.returncode == 1
    assert_grammar(done.stdout)
    assert done.stderr == ""


def test_no_run_odd_options_and_help(tmp_path: Path) -> None:
    (tmp_path / "runs").mkdir()
    for arguments in ((), ("--what\n✅ SUCCESS: x",), ("no such folder",)):
        done = check(tmp_path, *arguments)
        assert done.returncode == 1
        assert_grammar(done.stdout)
    assert check(tmp_path, "--help").stdout.startswith("Usage: scripts/check_training_status.sh")


def test_the_key_is_found_in_netrc(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("WANDB_API_KEY", raising=False)
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    assert api_key("https://api.wandb.ai") is None
    (tmp_path / "netrc").write_text(f"machine api.wandb.ai login user password {KEY}\n")
    assert api_key("https://api.wandb.ai") == KEY
    assert api_key("https://elsewhere") is None
    (tmp_path / "netrc").write_text("nonsense {{{")
    assert api_key("https://api.wandb.ai") is None


def test_names_and_addresses_of_runs() -> None:
    assert parse_run("me/weather/abc") == ("me", "weather", "abc")
    assert parse_run("https://wandb.ai/me/the%20weather/runs/abc?x=1") == ("me", "the weather", "abc")
    assert parse_run("runs/demo") is None
