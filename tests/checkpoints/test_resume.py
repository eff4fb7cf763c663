from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from run_folders import ERRORS, RUN_ID, failing_call, names, save
from weatherman import messages
from weatherman.checkpoints.resume import (
    ResumeState,
    announce_resume,
    begin_attempt,
    read_resume,
    record_checkpoint,
    record_clean_stop,
    record_failure,
    record_finished,
    record_step,
)
from weatherman.errors import WeathermanError


def verdicts(folder: Path, attempts: list[tuple[int, ...]]) -> list[str]:
    """What each start says; an attempt completes the given steps and is then killed (-1: a clean stop)."""
    told = []
    for steps in attempts:
        try:
            state = begin_attempt(folder)
        except WeathermanError as problem:
            told.append("loop" if problem.exit_code == 2 else problem.code)
            continue
        told.append("go")
        for step in steps:
            if step < 0:
                record_clean_stop(folder, state)
            else:
                record_step(folder, state, step)
    return told


@pytest.mark.parametrize(
    ("attempts", "expected"),
    [
        pytest.param([(), (), (), (), ()], "go go go loop loop", id="before or while the model is loaded"),
        pytest.param([(1,), (1,), (1,), (1,)], "go go go loop", id="at the same step"),
        pytest.param([(1, 2, 3), (2, 3), (3,), (1, 2), ()], "go go go loop loop", id="alternating steps, none new"),
        pytest.param([(), (), (1,), (), (), ()], "go go go go go loop", id="progress after two crashes"),
        pytest.param([(1,), (), (1, 2), (2,), (1, 2, 3), ()], "go go go go go go", id="progress in between"),
        pytest.param([(1,), (1, -1), (1, -1), (1, -1), (1, -1)], "go go go go go", id="clean stops do not count"),
        pytest.param([(), (-1,), (), (-1,), (), (-1,), ()], "go go go go go loop loop", id="clean stops do not reset"),
    ],
)
def test_verdict(tmp_path: Path, attempts: list[tuple[int, ...]], expected: str) -> None:
    assert verdicts(tmp_path, attempts) == expected.split()


def test_message_exit_code_and_way_out(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    state = begin_attempt(tmp_path)
    record_step(tmp_path, state, 41)
    record_failure(tmp_path, state, "loss is nan")
    verdicts(tmp_path, [(), ()])
    with pytest.raises(WeathermanError) as caught:
        begin_attempt(tmp_path)
    assert caught.value.exit_code == 2
    messages.error(caught.value)
    line = capsys.readouterr().out
    assert line.startswith("❌ ERROR: Crash loop detected: 3 starts in a row of ")
    assert "ended before step 42 was complete. The last failure said: loss is nan Hint: look at " in line
    assert line.count("\n") == 1
    state = begin_attempt(tmp_path, reset_crash_loop=True)
    assert (state.resume_count, state.last_step, state.attempt) == (0, 41, 5)
    assert begin_attempt(tmp_path).resume_count == 1


def test_resume_line(capsys: pytest.CaptureFixture[str]) -> None:
    announce_resume(500)
    assert capsys.readouterr().out == "⚠️ RESUME: Found checkpoint at step 500. Resuming training.\n"


def test_what_is_persisted(tmp_path: Path) -> None:
    state = begin_attempt(tmp_path)
    record_step(tmp_path, state, 1)
    record_checkpoint(tmp_path, state, tmp_path / "checkpoint-1")
    again = begin_attempt(tmp_path)
    written = json.loads((tmp_path / "resume_metadata.json").read_text())
    assert written["run_id"] == state.run_id == again.run_id
    assert (written["last_checkpoint"], written["last_step"], written["resume_count"]) == ("checkpoint-1", 1, 1)
    assert written["attempt"] == 2
    assert written["last_resume_time"].endswith("+00:00")


@pytest.mark.parametrize("name", ["last_checkpoint", "last_resume_time", "last_error", "run_id"])
def test_state_without_a_key_is_refused(tmp_path: Path, name: str) -> None:
    begin_attempt(tmp_path)
    path = tmp_path / "resume_metadata.json"
    raw = json.loads(path.read_text())
    del raw[name]
    path.write_text(json.dumps(raw))
    with pytest.raises(WeathermanError, match=f"{name} is missing"):
        begin_attempt(tmp_path)


def test_finished_run_is_left_alone(tmp_path: Path) -> None:
    state = begin_attempt(tmp_path)
    record_finished(tmp_path, state)
    (tmp_path / "adapter").mkdir()
    (tmp_path / "adapter" / "adapter_model.safetensors").write_bytes(b"x")
    before = (tmp_path / "resume_metadata.json").read_bytes()
    for _ in range(5):
        assert begin_attempt(tmp_path).finished
    assert (tmp_path / "resume_metadata.json").read_bytes() == before


def test_finished_run_without_its_adapter_goes_on(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    record_finished(tmp_path, begin_attempt(tmp_path))
    again = begin_attempt(tmp_path)
    assert (again.finished, again.attempt, again.resume_count) == (False, 2, 1)
    assert (
        capsys.readouterr().out == f"⚠️ WARNING: {tmp_path} was finished, but its adapter is gone: it is made again.\n"
    )


_STEPS = """
import os, sys
from pathlib import Path
from weatherman.checkpoints.resume import begin_attempt, record_step
folder = Path(sys.argv[1])
state = begin_attempt(folder)
for step in range(1, int(sys.argv[2]) + 1):
    record_step(folder, state, step)
os.kill(os.getpid(), 9)
"""


def test_every_step_survives_sigkill(tmp_path: Path) -> None:
    for last in (3, 4):
        subprocess.run([sys.executable, "-c", _STEPS, str(tmp_path), str(last)], check=False)
        state = read_resume(tmp_path)
        assert state is not None
        assert (state.last_step, state.resume_count) == (last, 0)
    assert names(tmp_path) == ["progress.json", "resume_metadata.json"]


def damage_folder(path: Path) -> None:
    path.unlink()
    path.mkdir()


def damage_link(path: Path) -> None:
    path.rename(path.with_name("elsewhere"))
    path.symlink_to(path.with_name("elsewhere"))


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "it is empty"),
        (b"\0" * 300, "it is empty"),
        (b'{"run_id": "a"', "it is not JSON"),
        (b"[" * 50_000, "it is not JSON"),
        (b"[]", "it is not a JSON object"),
        (b'{"run_id": 3}', "run_id is 3"),
        (b"{}" + b" " * 70_000, "it is larger than 65536 bytes"),
        (damage_folder, "it is not a regular file"),
        (damage_link, "it is not a regular file"),
        ({"resume_count": -1}, "resume_count is impossible"),
        ({"resume_count": 2.0}, "resume_count is 2.0"),
        ({"last_step": True}, "last_step is true"),
        ({"last_step": 10**15}, "last_step is impossible"),
        ({"clean_stop": 1}, "clean_stop is 1"),
    ],
)
def test_unreadable_state_is_refused_and_never_reset(tmp_path: Path, content: object, reason: str) -> None:
    save(tmp_path, 3)
    path = tmp_path / "resume_metadata.json"
    begin_attempt(tmp_path)
    if isinstance(content, bytes):
        path.write_bytes(content)
    elif isinstance(content, dict):
        path.write_text(json.dumps(json.loads(path.read_text()) | content))
    else:
        content(path)  # type: ignore[operator]
    for _ in range(2):
        with pytest.raises(WeathermanError) as caught:
            begin_attempt(tmp_path)
        assert caught.value.exit_code == 1
        assert f"resume_metadata.json cannot be used: {reason}" in caught.value.message
        assert "--reset-crash-loop" in caught.value.hint
    state = begin_attempt(tmp_path, reset_crash_loop=True)
    assert (state.run_id, state.last_step, state.last_checkpoint) == (RUN_ID, 3, "checkpoint-3")
    assert names(tmp_path / "quarantine") == ["resume_metadata.json"]


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    data=st.binary(max_size=200)
    | st.dictionaries(
        st.sampled_from(list(ResumeState.__slots__)),
        st.none() | st.booleans() | st.integers() | st.text() | st.lists(st.floats()),
    ).map(lambda value: json.dumps(value).encode())
)
def test_any_content_is_refused_in_words(tmp_path: Path, data: bytes) -> None:
    (tmp_path / "resume_metadata.json").write_bytes(data)
    with pytest.raises(WeathermanError) as caught:
        read_resume(tmp_path)
    assert caught.value.code == "resume.unreadable"


def test_missing_state_takes_up_the_checkpoints_with_a_warning(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    save(tmp_path, 3)
    state = begin_attempt(tmp_path)
    assert (state.run_id, state.last_step, state.resume_count) == (RUN_ID, 3, 0)
    assert "⚠️ WARNING: " in capsys.readouterr().out


@pytest.mark.parametrize("content", [b"", b"{", b'{"run_id": "other", "last_step": 9}', b'{"last_step": "9"}'])
def test_torn_progress_is_not_believed(tmp_path: Path, content: bytes, capsys: pytest.CaptureFixture[str]) -> None:
    state = begin_attempt(tmp_path)
    record_step(tmp_path, state, 5)
    record_checkpoint(tmp_path, state, tmp_path / "checkpoint-5")
    record_step(tmp_path, state, 6)
    (tmp_path / "progress.json").write_bytes(content)
    assert read_resume(tmp_path).last_step == 5  # type: ignore[union-attr]
    assert capsys.readouterr().out == ""
    begin_attempt(tmp_path)
    assert ("progress.json cannot be used" in capsys.readouterr().out) == (len(content) < 2)


@pytest.mark.parametrize("number", ERRORS)
def test_begin_persists_or_refuses(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int) -> None:
    state = begin_attempt(tmp_path)
    nth = num_calls = 0
    while num_calls >= nth:
        nth += 1
        before = read_resume(tmp_path)
        assert before is not None
        with failing_call(monkeypatch, nth, number) as calls:
            try:
                begin_attempt(tmp_path)
                told = None
            except WeathermanError as problem:
                told = problem.code
        assert told in (None, "resume.unwritable", "train.crash-loop")
        num_calls = len(calls)
        after = read_resume(tmp_path)
        assert after is not None
        assert after.resume_count - before.resume_count in (0, 1)
        assert after.run_id == state.run_id
    assert nth > 5


def test_a_full_disk_while_recording_is_told_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    state = begin_attempt(tmp_path)

    def full(*args: object) -> int:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "write", full)
    for step in range(1, 5):
        record_step(tmp_path, state, step)
    out = capsys.readouterr().out
    assert out.count("progress.json cannot be written (No space left on device); training goes on.") == 1
    assert state.last_step == 4
    assert names(tmp_path) == ["resume_metadata.json"]


def test_progress_is_written_without_waiting_for_the_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    state = begin_attempt(tmp_path)
    calls: list[int] = []
    monkeypatch.setattr(os, "fsync", calls.append)
    for step in range(1, 50):
        record_step(tmp_path, state, step)
    assert calls == []


def test_progress_counts_though_its_reset_could_not_be_written(tmp_path: Path) -> None:
    begin_attempt(tmp_path)
    begin_attempt(tmp_path)
    state = begin_attempt(tmp_path)
    assert state.resume_count == 2
    (tmp_path / "progress.json").write_text(json.dumps({"run_id": state.run_id, "last_step": 1}))
    state = begin_attempt(tmp_path)
    assert (state.resume_count, state.last_step) == (1, 1)


def test_recording_on_a_broken_disk_warns_and_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    state = begin_attempt(tmp_path)

    def broken(*args: object) -> None:
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(os, "fsync", broken)
    record_checkpoint(tmp_path, state, tmp_path / "checkpoint-1")
    line = "resume_metadata.json cannot be written (Input/output error); the run goes on."
    assert line in capsys.readouterr().out
