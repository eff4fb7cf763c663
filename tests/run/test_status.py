from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import jsonschema
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from run_folders import save
from weatherman import messages
from weatherman.checkpoints import resume
from weatherman.checkpoints.resume import (
    begin_attempt,
    record_checkpoint,
    record_clean_stop,
    record_finished,
    record_step,
)
from weatherman.config.schema import TrainingConfig
from weatherman.errors import WeathermanError
from weatherman.run import status as module
from weatherman.run.events import EventLog, Heartbeat, StatusFile
from weatherman.run.lock import run_lock
from weatherman.run.opening import open_run
from weatherman.run.status_view import RunStatus, latest_run, read_status, show_status, status_lines
from weatherman.system.own_command import own_command
from weatherman.system.process import is_suspended

SCHEMA = json.loads((Path(__file__).parents[2] / "docs" / "schemas" / "status.schema.json").read_text())

_TRAINER = """
import sys, time
from pathlib import Path
from weatherman.run.events import StatusFile
from weatherman.run.lock import run_lock
with run_lock(Path(sys.argv[1])):
    StatusFile(Path(sys.argv[1]), 2, command="weatherman train -c a.yaml").write(
        state=sys.argv[2], step=3, total=10, loss=1.5, tokens_per_s=250.0, eta_s=100.0)
    print("written", flush=True)
    time.sleep(60)
"""


@contextmanager
def trainer(folder: Path, state: str = "running") -> Iterator[subprocess.Popen[str]]:
    process = subprocess.Popen([sys.executable, "-c", _TRAINER, str(folder), state], stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        process.stdout.readline()
        yield process
    finally:
        process.kill()
        process.wait()


def checked(folder: Path) -> RunStatus:
    """The status, its JSON valid by the schema and its lines by the grammar."""
    status = read_status(folder)
    jsonschema.validate(status.to_json(), SCHEMA)
    for line in status_lines(status):
        assert messages.LINE.match(f"[STATUS] {line}")
    return status


def edit(folder: Path, **changes: object) -> None:
    path = folder / "status.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


@pytest.mark.parametrize("said", ["the disk is full", ""])
def test_a_crash_loop_tells_the_last_checkpoints_step_and_the_cause(tmp_path: Path, said: str) -> None:
    config = TrainingConfig(output_dir=str(tmp_path))
    record_step(tmp_path, begin_attempt(tmp_path), 3)
    save(tmp_path, 3)
    for _ in range(2):
        state = begin_attempt(tmp_path)
        if said:
            resume.record_failure(tmp_path, state, said)
    with pytest.raises(WeathermanError), open_run(config, [], reset_crash_loop=False):
        pass
    status = checked(tmp_path)
    assert (status.state, status.step, status.last_verified_checkpoint) == ("crash-loop", 3, "checkpoint-3")
    assert (said or "none left a word: killed") in status.reason


def test_schema_is_a_schema_of_every_field() -> None:
    jsonschema.Draft202012Validator.check_schema(SCHEMA)
    assert set(SCHEMA["properties"]) == set(RunStatus("a", "dead").to_json())
    assert tuple(SCHEMA["properties"]["state"]["enum"]) == module.STATES


def test_running_suspended_stalled_dead(tmp_path: Path) -> None:
    save(tmp_path, 2)
    with trainer(tmp_path) as process:
        status = checked(tmp_path)
        assert (status.state, status.reason, status.exit_code) == ("running", "", None)
        assert (status.step, status.total, status.loss, status.eta_s, status.attempt) == (3, 10, 1.5, 100.0, 2)
        assert status.last_verified_checkpoint == "checkpoint-2"
        assert status.next_action == own_command("status", str(tmp_path), "--watch")
        process.send_signal(signal.SIGSTOP)
        while not is_suspended(process.pid):
            time.sleep(0.01)
        status = checked(tmp_path)
        assert (status.state, status.reason) == ("stalled", f"process {process.pid} is suspended")
        assert status.next_action == f"kill -CONT {process.pid}"
        process.send_signal(signal.SIGCONT)
        while is_suspended(process.pid):
            time.sleep(0.01)
        edit(tmp_path, patience_s=0)
        status = checked(tmp_path)
        assert status.state == "stalled"
        assert "no sign of progress" in status.reason
    status = checked(tmp_path)
    assert (status.state, status.eta_s) == ("dead", None)
    assert f"process {process.pid} is gone" in status.reason
    assert status.next_action == "weatherman train -c a.yaml"


def test_starting(tmp_path: Path) -> None:
    with trainer(tmp_path, "starting"):
        assert checked(tmp_path).state == "starting"


@pytest.mark.parametrize(
    ("fields", "exit_code", "shown", "next_action"),
    [
        ({"state": "stopped", "exit_code": 143}, 143, 0, "make train"),
        ({"state": "failed"}, 1, 1, "make train"),
        ({"state": "failed", "exit_code": 137, "next_action": "weatherman plan"}, 137, 1, "weatherman plan"),
        ({"state": "crash-loop"}, 2, 2, "make train --reset-crash-loop"),
        ({"state": "finished"}, 0, 0, "ls {}/adapter"),
    ],
)
def test_what_the_trainer_said_last(
    tmp_path: Path, fields: dict[str, object], exit_code: int, shown: int, next_action: str
) -> None:
    StatusFile(tmp_path, 1).write(**fields)
    status = checked(tmp_path)
    assert (status.state, status.reason, status.exit_code) == (fields["state"], "", exit_code)
    assert status.next_action == next_action.format(tmp_path)
    assert show_status(tmp_path) == shown


def test_what_the_trainer_could_not_say(tmp_path: Path) -> None:
    state = begin_attempt(tmp_path)
    with trainer(tmp_path):
        pass
    assert checked(tmp_path).state == "dead"
    record_clean_stop(tmp_path, state)
    assert checked(tmp_path).state == "stopped"
    for _ in range(4):
        with pytest.raises(WeathermanError) if _ == 3 else _nothing():
            begin_attempt(tmp_path)
    status = checked(tmp_path)
    assert (status.state, status.exit_code, status.resume_count) == ("crash-loop", 2, 3)
    state = begin_attempt(tmp_path, reset_crash_loop=True)
    record_finished(tmp_path, state)
    assert checked(tmp_path).state == "finished"


def test_new_attempt_that_has_not_reported_yet(tmp_path: Path) -> None:
    with trainer(tmp_path):
        pass
    with run_lock(tmp_path):
        assert checked(tmp_path).state == "starting"
    assert checked(tmp_path).state == "dead"


@contextmanager
def _nothing() -> Iterator[None]:
    yield


@pytest.mark.parametrize("shift_s", [-(10**7), 10**7])
def test_a_clock_that_is_set_fools_nobody(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, shift_s: int) -> None:
    real = time.time
    with trainer(tmp_path):
        monkeypatch.setattr(time, "time", lambda: real() + shift_s)
        status = checked(tmp_path)
    assert status.state == "running"
    assert status.age_s is not None
    assert status.age_s < 30


def test_run_on_another_machine_is_judged_by_its_lock(tmp_path: Path) -> None:
    with trainer(tmp_path):
        edit(tmp_path, host="elsewhere", boot="another")
        assert checked(tmp_path).state == "running"
    lock = tmp_path / "run.lock"
    lock.write_text(json.dumps(json.loads(lock.read_text()) | {"host": "elsewhere"}))
    assert checked(tmp_path).state == "running"
    old = time.time() - 300
    os.utime(lock, (old, old))
    status = checked(tmp_path)
    assert status.state == "dead"
    assert "no sign of life on elsewhere" in status.reason
    lock.unlink()
    assert checked(tmp_path).reason == "no trainer holds this folder"


def test_reused_pid_is_dead(tmp_path: Path) -> None:
    StatusFile(tmp_path, 1).write(state="running")
    assert checked(tmp_path).state == "running"
    edit(tmp_path, pid=os.getppid())
    assert checked(tmp_path).state == "dead"


@pytest.mark.parametrize("content", [None, b"", b"{", b"[]", b'{"state": "nonsense"}', b"\xff" * 99])
def test_without_heartbeat_the_events_tell(tmp_path: Path, content: bytes | None) -> None:
    log = EventLog(tmp_path, attempt=3)
    log.emit("step", step=41, loss=2.0)
    log.emit("step", step=42, loss=float("nan"))
    if content is not None:
        (tmp_path / "status.json").write_bytes(content)
    status = checked(tmp_path)
    assert (status.state, status.step, status.loss, status.attempt) == ("dead", 42, 2.0, 3)


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.dictionaries(
        st.sampled_from(list(Heartbeat.__slots__)),
        st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=9) | st.lists(st.text()),
    )
)
def test_hostile_heartbeats_are_survived(tmp_path: Path, fields: dict[str, object]) -> None:
    (tmp_path / "status.json").write_text(json.dumps({"state": "running", **fields}))
    checked(tmp_path)


def test_unreadable_resume_metadata_is_shown(tmp_path: Path) -> None:
    StatusFile(tmp_path, 1).write(state="running")
    (tmp_path / "resume_metadata.json").write_text("{")
    status = checked(tmp_path)
    assert (status.state, status.resume_count) == ("running", None)
    assert "resume_metadata.json cannot be used" in status.reason


def test_checkpoint_shown_is_one_that_verifies(tmp_path: Path) -> None:
    for step in (1, 2, 3):
        save(tmp_path, step, keep=3)
    (tmp_path / "checkpoint-3" / "state.json").unlink()
    (tmp_path / "checkpoint-2" / "manifest.json").unlink()
    assert checked(tmp_path).last_verified_checkpoint == "checkpoint-1"
    assert (tmp_path / "checkpoint-3").is_dir()


def test_lines_and_json(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    save(tmp_path, 2)
    with trainer(tmp_path):
        assert show_status(tmp_path) == 0
        assert capsys.readouterr().out.splitlines() == [
            f"[STATUS] {tmp_path}: running, step 3 of 10 (30%), attempt 2",
            "[STATUS] loss 1.5000 · 250 tokens/s · 2 min left",
            "[STATUS] Last verified checkpoint: checkpoint-2",
            f"[STATUS] Next: {own_command('status', str(tmp_path), '--watch')}",
        ]
        assert show_status(tmp_path, as_json=True) == 0
        jsonschema.validate(json.loads(capsys.readouterr().out), SCHEMA)
    assert show_status(tmp_path, as_json=True) == 1


def test_json_has_nothing_else_beside_it(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    state = begin_attempt(tmp_path)
    record_step(tmp_path, state, 1)
    record_checkpoint(tmp_path, state, tmp_path / "checkpoint-1")
    (tmp_path / "progress.json").write_text("torn")
    show_status(tmp_path, as_json=True)
    assert json.loads(capsys.readouterr().out)["state"] == "dead"


def test_forged_text_cannot_leave_its_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    StatusFile(tmp_path, 1).write(state="failed", message="x\n✅ SUCCESS: all is well\x1b[2J")
    show_status(tmp_path)
    lines = capsys.readouterr().out.splitlines()
    assert all(line.startswith("[STATUS] ") for line in lines)
    assert "[STATUS] It said: x\\n✅ SUCCESS: all is well\\x1b[2J" in lines


def test_watch_follows_until_the_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    status = StatusFile(tmp_path, 1)
    status.write(state="running", step=1, total=2)
    monkeypatch.setattr("weatherman.run.status_view.time.sleep", lambda seconds: status.write(state="finished", step=2))
    assert show_status(tmp_path, as_json=True, watch=True) == 0
    states = [json.loads(line)["state"] for line in capsys.readouterr().out.splitlines()]
    assert states == ["running", "finished"]


def test_latest_run_is_the_one_last_heard_of(tmp_path: Path) -> None:
    with pytest.raises(WeathermanError, match="there is no run in"):
        latest_run(tmp_path)
    for name, age_s in (("b", 50), ("a", 10), ("c", 90)):
        (tmp_path / name).mkdir()
        StatusFile(tmp_path / name, 1).write()
        at = time.time() - age_s
        os.utime(tmp_path / name / "status.json", (at, at))
    (tmp_path / "notes").mkdir()
    assert latest_run(tmp_path) == tmp_path / "a"
    with pytest.raises(WeathermanError, match="holds no run") as caught:
        read_status(tmp_path / "notes")
    assert caught.value.exit_code == 1


def test_long_runs_are_answered_fast(tmp_path: Path) -> None:
    save(tmp_path, 2)
    line = '{"time": "2026-01-01T00:00:00.000+00:00", "attempt": 1, "kind": "step", "step": 5, "loss": 1.25}\n'
    (tmp_path / "events.jsonl").write_text(line * 100_000)
    began_s = time.perf_counter()
    assert checked(tmp_path).step == 5
    assert time.perf_counter() - began_s < 0.5
