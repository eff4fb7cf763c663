"""Trackers: chosen without a question, never able to stop a run, one stable run across resumes."""

from __future__ import annotations

import socket
import sys
import types
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pytest

from weatherman.run import tracking
from weatherman.run.stop import StopNow, StopRequest
from weatherman.run.trackers import Opened, Wanted, reachable, wandb_key_present, wandb_mode
from weatherman.run.tracking import CHECKED_VARIABLE, GuardedTracker, NoTracker, closing, start_tracker, usable_tracker


@pytest.fixture(autouse=True)
def _clean(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in ("WANDB_MODE", "WANDB_API_KEY", "WANDB_BASE_URL"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))


def open_tracker(kind: str, folder: Path) -> tracking.Tracker:
    return start_tracker(kind, Wanted("p", "n", "r1", folder, {"seed": 1}, first_step=3))


def opened(calls: list[Any], fails: bool = False) -> Opened:
    def log(step: int, metrics: dict[str, float]) -> None:
        calls.append(step)
        if fails:
            raise ConnectionError("server went away")

    return Opened("W&B", None, None, log, lambda *table: calls.append(table), lambda code: calls.append(f"end {code}"))


def test_a_failing_tracker_is_told_once_and_left_alone(capsys: pytest.CaptureFixture[str]) -> None:
    calls: list[Any] = []
    tracker = GuardedTracker(opened(calls, fails=True))
    for step in (1, 2, 3):
        tracker.log(step, {"loss": 1.0})
    tracker.finish(0)
    assert calls == [1]
    assert capsys.readouterr().out.count("⚠️ WARNING: W&B failed (server went away); training goes on") == 1


def test_key_is_found_in_the_environment_or_netrc(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    assert not wandb_key_present()
    (tmp_path / "netrc").write_text("machine api.wandb.ai login user password abc\n")
    assert wandb_key_present()
    (tmp_path / "netrc").unlink()
    monkeypatch.setenv("WANDB_API_KEY", "k" * 40)
    assert wandb_key_present()


def test_mode_says_why_it_is_offline(monkeypatch: pytest.MonkeyPatch) -> None:
    assert wandb_mode()[0] == "offline"
    assert "no API key" in wandb_mode()[1]
    monkeypatch.setenv("WANDB_API_KEY", "k" * 40)
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{closed.getsockname()[1]}"
    monkeypatch.setenv("WANDB_BASE_URL", url)
    assert wandb_mode() == ("offline", f"{url} cannot be reached")
    monkeypatch.setenv("WANDB_MODE", "disabled")
    assert wandb_mode() == ("disabled", "WANDB_MODE=disabled")


def test_a_listening_server_is_reachable(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        url = f"http://127.0.0.1:{server.getsockname()[1]}"
        assert reachable(url)
        monkeypatch.setenv("WANDB_BASE_URL", url)
        monkeypatch.setenv("WANDB_API_KEY", "k" * 40)
        assert wandb_mode() == ("online", "")
    assert not reachable(url)
    assert not reachable("http://127.0.0.1:notaport")


@pytest.mark.parametrize("kind", ["wandb", "trackio", "tensorboard"])
def test_a_missing_package_is_told_once_and_rightly(
    kind: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    module = "tensorboardX" if kind == "tensorboard" else kind
    assert usable_tracker(kind) == kind
    monkeypatch.setitem(sys.modules, module, None)
    assert usable_tracker(kind) == "none"
    told = capsys.readouterr().out
    assert told.startswith(f"⚠️ WARNING: report_to is {kind} and the package {module} is not installed here; ")
    assert f"Hint: pip install {module}" in told
    assert told.count("\n") == 1
    monkeypatch.setenv(CHECKED_VARIABLE, "1")  # the launcher's preflight has told it
    assert usable_tracker(kind) == "none"
    assert capsys.readouterr().out == ""


def test_a_package_that_breaks_costs_a_warning(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: Any) -> None:
    monkeypatch.setitem(sys.modules, "trackio", types.ModuleType("trackio"))
    monkeypatch.setenv("TRACKIO_DIR", str(tmp_path))
    assert isinstance(open_tracker("trackio", tmp_path), NoTracker)
    assert capsys.readouterr().out.startswith("⚠️ WARNING: trackio could not start (")


@pytest.mark.parametrize(
    ("ends", "told"), [(None, "end 143"), (StopNow(130), "end 130"), (RuntimeError("broken"), "end 1")]
)
def test_a_tracker_is_closed_with_the_code_of_the_run(ends: BaseException | None, told: str) -> None:
    calls: list[Any] = []
    stop = StopRequest()
    stop.exit_code = 143
    with pytest.raises(type(ends)) if ends else nullcontext(), closing(GuardedTracker(opened(calls)), stop) as tracker:
        tracker.log(1, {})
        if ends:
            raise ends
    assert calls == [1, told]


def test_none_is_no_tracker(tmp_path: Path) -> None:
    tracker = open_tracker("none", tmp_path)
    tracker.log(1, {"loss": 1.0})
    tracker.finish(0)
    assert tracker.url is None
    assert list(tmp_path.iterdir()) == []


def test_wandb_is_given_the_stable_id_and_told_to_resume(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    given: dict[str, Any] = {}
    logged: list[Any] = []
    run = types.SimpleNamespace(
        url="https://wandb.example/run", log=lambda metrics, step: logged.append((step, metrics)),
        finish=lambda exit_code: logged.append(exit_code),
    )  # fmt: skip
    fake = types.SimpleNamespace(
        Table=lambda columns, data: (columns, data), Settings=lambda **settings: settings, init=lambda **more: given.update(more) or run
    )  # fmt: skip
    monkeypatch.setitem(sys.modules, "wandb", fake)
    tracker = open_tracker("wandb", tmp_path)
    tracker.log(3, {"train/loss": 2.0})
    tracker.log_table(4, "samples", [{"asked": "A?", "after": "B."}])
    tracker.log_table(4, "samples", [])
    tracker.finish(143)
    assert (given["id"], given["resume"], given["mode"], given["dir"]) == ("r1", "allow", "offline", str(tmp_path))
    assert logged == [(3, {"train/loss": 2.0}), (4, {"samples": (["asked", "after"], [["A?", "B."]])}), 143]
    assert tracker.url == "https://wandb.example/run"


def test_wandb_disabled_is_not_even_imported(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("WANDB_MODE", "disabled")
    monkeypatch.setitem(sys.modules, "wandb", None)
    assert isinstance(open_tracker("wandb", tmp_path), NoTracker)
