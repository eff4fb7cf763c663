from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from run_folders import names
from weatherman.run.events import EventLog, StatusFile, read_events, read_tail

PLAIN = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


def strict(line: str | bytes) -> dict[str, object]:
    return json.loads(line, parse_constant=lambda name: pytest.fail(name))


def events(folder: Path) -> list[dict[str, object]]:
    return list(read_events(folder / "events.jsonl"))


def test_one_strict_object_a_line(tmp_path: Path) -> None:
    log = EventLog(tmp_path, attempt=3)
    log.emit("step", step=1, loss=float("nan"), norms=[float("inf"), -float("inf"), 2.5], folder=tmp_path)
    log.emit("note", text="two\nlines\x1b[2J\u2028 and \ud800")
    lines = (tmp_path / "events.jsonl").read_bytes().splitlines()
    assert len(lines) == 2
    first = strict(lines[0])
    assert list(first)[:3] == ["time", "attempt", "kind"]
    assert str(first["time"]).endswith("+00:00")
    assert (first["attempt"], first["kind"], first["step"], first["loss"]) == (3, "step", 1, "NaN")
    assert first["norms"] == ["Infinity", "-Infinity", 2.5]
    assert first["folder"] == str(tmp_path)
    assert lines[1].isascii()
    assert b"\x1b" not in lines[1]


def test_fixed_fields_cannot_be_overwritten(tmp_path: Path) -> None:
    EventLog(tmp_path, attempt=1).emit("note", attempt=9, time="never")
    assert events(tmp_path)[0]["attempt"] == 1
    assert events(tmp_path)[0]["time"] != "never"


@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(fields=st.dictionaries(st.text().filter(lambda name: name not in ("kind", "self")), PLAIN, max_size=4))
def test_whatever_is_emitted_is_one_line_that_is_read_back(tmp_path: Path, fields: dict[str, object]) -> None:
    (tmp_path / "events.jsonl").unlink(missing_ok=True)
    EventLog(tmp_path, attempt=1).emit("any", **fields)
    (line,) = (tmp_path / "events.jsonl").read_bytes().split(b"\n")[:-1]
    assert strict(line)["kind"] == "any"
    assert set(fields) <= set(strict(line))


def test_secrets_never_reach_the_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_TOKEN", "canary-value-1234")
    EventLog(tmp_path, attempt=1).emit("error", text="canary-value-1234", deep=[{"a": ValueError("canary-value-1234")}])
    StatusFile(tmp_path, attempt=1, command="train --token canary-value-1234").write(message="canary-value-1234")
    assert b"canary" not in (tmp_path / "events.jsonl").read_bytes()
    assert b"canary" not in (tmp_path / "status.json").read_bytes()


@pytest.mark.parametrize("torn", [b'{"kind": "st', b"\0\0\0\0", b"{"])
def test_torn_last_line_is_ended_and_passed_over(tmp_path: Path, torn: bytes) -> None:
    EventLog(tmp_path, attempt=1).emit("a")
    with (tmp_path / "events.jsonl").open("ab") as file:
        file.write(torn)
    bad: list[int] = []
    assert [event["kind"] for event in read_events(tmp_path / "events.jsonl", bad.append)] == ["a"]
    EventLog(tmp_path, attempt=2).emit("b")
    assert [event["kind"] for event in events(tmp_path)] == ["a", "b"]
    assert bad == [2]


def test_garbage_in_between(tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    good = b'{"kind": "x"}\n'
    path.write_bytes(good + b"\xff\xfe\n[1]\n{}\n\n" + b"[" * 100_000 + b"\n" + b"x" * 3_000_000 + b"\n" + good)
    bad: list[int] = []
    assert len(list(read_events(path, bad.append))) == 2
    assert bad == [2, 3, 4, 6, 7]
    assert list(read_events(tmp_path / "missing")) == []
    assert read_tail(tmp_path / "missing", 3) == []


def test_a_short_write_does_not_spoil_the_next_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    log = EventLog(tmp_path, attempt=1)
    real = os.write
    with monkeypatch.context() as patch:
        patch.setattr(os, "write", lambda fd, data: real(fd, data[:10]))
        log.emit("lost")
    log.emit("kept")
    assert [event["kind"] for event in events(tmp_path)] == ["kept"]


def test_failing_disk_is_told_once_and_recovers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    log, status = EventLog(tmp_path, attempt=1), StatusFile(tmp_path, attempt=1)

    def full(*args: object) -> int:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, "write", full)
        for step in range(3):
            log.emit("step", step=step)
            status.write(step=step)
    out = capsys.readouterr().out
    assert out.count("events.jsonl cannot be written (No space left on device); training goes on.") == 1
    assert out.count("status.json cannot be written (No space left on device); training goes on.") == 1
    log.emit("step", step=3)
    assert [event["step"] for event in events(tmp_path)] == [3]


@pytest.mark.parametrize("kind", ["link", "folder"])
def test_what_is_no_file_is_moved_aside(tmp_path: Path, kind: str) -> None:
    for name in ("events.jsonl", "status.json"):
        if kind == "link":
            (tmp_path / "mine").write_text("mine")
            (tmp_path / name).symlink_to(tmp_path / "mine")
        else:
            (tmp_path / name).mkdir()
    EventLog(tmp_path, attempt=1).emit("a")
    StatusFile(tmp_path, attempt=1).write()
    assert [event["kind"] for event in events(tmp_path)] == ["a"]
    assert names(tmp_path / "quarantine") == ["events.jsonl", "status.json"]
    if kind == "link":
        assert (tmp_path / "mine").read_text() == "mine"


_EMIT = """
import sys
from pathlib import Path
from weatherman.run.events import EventLog, StatusFile
log, status = EventLog(Path(sys.argv[1]), int(sys.argv[2])), StatusFile(Path(sys.argv[1]), int(sys.argv[2]))
for step in range(10**9):
    log.emit("step", step=step, text="x" * 5000)
    status.write(step=step)
    if step == 0:
        print("go", flush=True)
"""


def test_killed_writers_leave_readable_files(tmp_path: Path) -> None:
    for attempt in range(1, 6):
        process = subprocess.Popen(
            [sys.executable, "-c", _EMIT, str(tmp_path), str(attempt)], stdout=subprocess.PIPE, text=True
        )
        assert process.stdout is not None
        process.stdout.readline()
        time.sleep(0.005 * attempt)
        process.kill()
        process.wait()
        assert strict((tmp_path / "status.json").read_bytes())["attempt"] == attempt
        assert read_tail(tmp_path / "events.jsonl", 1)[0]["attempt"] == attempt
    bad: list[int] = []
    seen = [(event["attempt"], event["step"]) for event in read_events(tmp_path / "events.jsonl", bad.append)]
    assert seen == sorted(seen)
    assert len(bad) <= 5


def test_tail_of_a_long_file_is_fast(tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    path.write_text("".join(f'{{"kind": "step", "step": {step}, "pad": "{"x" * 80}"}}\n' for step in range(100_000)))
    began_s = time.perf_counter()
    tail = read_tail(path, 3)
    assert time.perf_counter() - began_s < 0.1
    assert [event["step"] for event in tail] == [99_997, 99_998, 99_999]


def test_heartbeat_keeps_what_is_not_changed(tmp_path: Path) -> None:
    status = StatusFile(tmp_path, attempt=2, command="make train")
    status.write(state="running", step=1, total=9, loss=float("nan"))
    status.write(step=2)
    beat = strict((tmp_path / "status.json").read_bytes())
    assert (beat["state"], beat["step"], beat["total"], beat["loss"], beat["attempt"]) == ("running", 2, 9, None, 2)
    assert (beat["pid"], beat["command"]) == (os.getpid(), "make train")
    with pytest.raises(TypeError):
        status.write(stepp=3)
    with pytest.raises(ValueError, match="unknown state 'dead'"):
        status.write(state="dead")
