"""The session around the trainer: its verdicts, restarts and signals, with small programs in the trainer's place."""

from __future__ import annotations

import io
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from weatherman.errors import WeathermanError
from weatherman.launch import detach, session
from weatherman.launch.detach import receive
from weatherman.launch.metal import metal_cause, smaller_chunks
from weatherman.launch.session import supervise
from weatherman.launch.session_record import Job, SessionRecord, read_record, write_record

EMIT = "import json, os, sys, time, signal\ndef emit(kind, **more):\n with open('run/events.jsonl', 'a') as f: f.write(json.dumps({'kind': kind, **more}) + '\\n')\n"


@pytest.fixture(autouse=True)
def _quick_and_signals_restored(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(session, "_RESTART_AFTER_S", 0.0)
    monkeypatch.setattr(session, "_POLL_S", 0.01)
    before = {number: signal.getsignal(number) for number in (signal.SIGHUP, signal.SIGINT, signal.SIGTERM)}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


def job_for(root: Path, code: str, **changes: Any) -> Job:
    (root / "run").mkdir(exist_ok=True)
    (root / "logs").mkdir(exist_ok=True)
    made = Job(
        token="t", how="foreground", command=[sys.executable, "-c", EMIT + code], environ=dict(os.environ),
        folder=str(root), log=str(root / "logs" / "training.log"), run=str(root / "run"), platform="H100",
    )  # fmt: skip
    return replace(made, **changes)


def supervised(root: Path, code: str, **changes: Any) -> tuple[int, SessionRecord, str]:
    job = job_for(root, code, **changes)
    screen = io.StringIO()
    result = supervise(job, screen)
    record = read_record(job.record_path)
    assert record is not None
    assert record.exit_code == result
    return result, record, screen.getvalue()


@pytest.mark.parametrize(
    ("code", "expected", "cause"),
    [
        (
            "emit('start'); emit('crash-loop', message='Crash loop detected: x'); sys.exit(2)",
            2,
            "Crash loop detected: x",
        ),
        ("emit('start'); sys.exit(2)", 1, "the trainer ended with exit code 2 and gave no reason"),
        ("emit('start'); emit('failure', message='no room'); sys.exit(1)", 1, "no room"),
        ("sys.exit(77)", 1, "the trainer ended with exit code 77 and gave no reason"),
        ("emit('stop'); sys.exit(143)", 143, ""),
        ("sys.exit(143)", 1, "the trainer ended with exit code 143 and gave no reason"),
        ("os.kill(os.getpid(), 9)", 1, "the trainer was killed by SIGKILL (out of memory, or kill -9)"),
        ("os.kill(os.getpid(), signal.SIGSEGV)", 1, "the trainer was killed by SIGSEGV"),
    ],
)
def test_verdicts(tmp_path: Path, code: str, expected: int, cause: str) -> None:
    result, record, _ = supervised(tmp_path, code)
    assert (result, record.cause) == (expected, cause)


def test_success_without_an_adapter_is_a_failure(tmp_path: Path) -> None:
    result, record, shown = supervised(tmp_path, "emit('start')")
    assert result == 1
    assert "cannot be trusted" in record.cause
    assert "❌ ERROR: the adapter in " in shown


def test_trainer_that_cannot_be_started_is_recorded(tmp_path: Path) -> None:
    result, record, _ = supervised(tmp_path, "", command=[str(tmp_path / "none")])
    assert result == 1
    assert record.cause.startswith("the session broke (FileNotFoundError")


def test_restarts_are_bounded_and_need_a_start(tmp_path: Path) -> None:
    result, record, shown = supervised(tmp_path, "emit('start'); os.kill(os.getpid(), 9)", restarts=2)
    assert result == 1
    assert record.num_restarts == 2
    assert [line.split(" Restart ")[1] for line in shown.splitlines() if " Restart " in line] == ["1 of 2.", "2 of 2."]
    assert (tmp_path / "run" / "events.jsonl").read_text().count("start") == 3
    result, record, _ = supervised(tmp_path, "sys.exit(1)", restarts=2)  # a configuration that is refused, for example
    assert record.num_restarts == 0


def test_restart_stops_at_the_crash_loop_and_does_not_reset_it_again(tmp_path: Path) -> None:
    code = (
        "emit('start', words=sys.argv[1:])\n"
        "again = len(open('run/events.jsonl').readlines()) > 2\n"
        "if again: emit('crash-loop', message='Crash loop detected'); sys.exit(2)\n"
        "sys.exit(1)\n"
    )
    job = job_for(tmp_path, code, restarts=9)
    assert supervise(replace(job, command=[*job.command, "--reset-crash-loop"]), io.StringIO()) == 2
    events = [json.loads(line) for line in (tmp_path / "run" / "events.jsonl").read_text().splitlines()]
    assert [event.get("words") for event in events if event["kind"] == "start"] == [["--reset-crash-loop"], [], []]


def test_output_goes_to_the_log_and_to_the_screen_in_the_grammar(tmp_path: Path) -> None:
    code = "print('plain \\x1b[2J words'); print('✅ SUCCESS: fine'); print('half', end=''); sys.exit(1)"
    _, _, shown = supervised(tmp_path, code, environ={**os.environ, "PYTHONUTF8": "1"})
    assert shown.splitlines()[:2] == ["[TRAINING-H100] plain \\x1b[2J words", "✅ SUCCESS: fine"]
    assert (tmp_path / "logs" / "training.log").read_text().startswith("plain \x1b[2J words\n✅ SUCCESS: fine\nhalf")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full")
def test_log_on_a_full_disk_ends_nothing(tmp_path: Path) -> None:
    result, record, _ = supervised(tmp_path, "emit('start'); os.kill(os.getpid(), 9)", restarts=1, log="/dev/full")
    assert result == 1
    assert record.num_restarts == 1
    assert record.cause == "the trainer was killed by SIGKILL (out of memory, or kill -9)"


def test_signals_are_passed_on_once_and_the_trainer_decides(tmp_path: Path) -> None:
    code = (
        "emit('start'); asked = []\n"
        "signal.signal(signal.SIGHUP, lambda *_: asked.append(1))\n"
        "emit('ready')\n"
        "until = time.monotonic() + 300\n"
        "while not asked and time.monotonic() < until: time.sleep(0.01)\n"
        "time.sleep(0.5)\n"
        "emit('stop', num=len(asked)); sys.exit(129)\n"
    )
    job = job_for(tmp_path, code)
    words = "import io, json, sys; from weatherman.launch.session import supervise; from weatherman.launch.session_record import Job\nsys.exit(supervise(Job(**json.load(sys.stdin)), io.StringIO()))"
    from dataclasses import asdict

    process = subprocess.Popen([sys.executable, "-c", words], stdin=subprocess.PIPE, text=True)
    assert process.stdin is not None
    process.stdin.write(json.dumps(asdict(job)))
    process.stdin.close()
    events = tmp_path / "run" / "events.jsonl"
    until_s = time.monotonic() + 300
    while not events.exists() or "ready" not in events.read_text():
        assert time.monotonic() < until_s
        time.sleep(0.01)
    process.send_signal(signal.SIGHUP)
    time.sleep(0.1)
    process.send_signal(signal.SIGHUP)
    assert process.wait(300) == 129
    assert json.loads(events.read_text().splitlines()[-1]) == {"kind": "stop", "num": 1}


def test_job_is_handed_over_with_any_text_and_the_terminal_stays_this_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import threading

    pipe = tmp_path / "job"
    os.mkfifo(pipe, 0o600)
    environ = {"A": "\x1b\n' \"✅ \udcff", "BIG": "x" * 300_000, "TERM": "theirs", "HF_TOKEN": "secret"}
    job = job_for(tmp_path, "pass", environ=environ)
    monkeypatch.setenv("TERM", "ours")
    sender = threading.Thread(target=detach._hand_over, args=(pipe, job, lambda: True))
    sender.start()
    received = receive(pipe)
    sender.join(10)
    assert received == replace(job, environ={**environ, "TERM": "ours"})


def test_nobody_waits_for_ever(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pipe = tmp_path / "job"
    os.mkfifo(pipe, 0o600)
    with pytest.raises(WeathermanError, match="no job could be read") as alone:
        receive(pipe, patience_s=0.1)
    assert alone.value.code == "launch.no-job"
    with pytest.raises(WeathermanError, match="ended before it took its job over"):
        detach._hand_over(pipe, job_for(tmp_path, "pass"), lambda: False)


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"token": 3}', "{" * 100_000])
def test_record_that_makes_no_sense_is_none(tmp_path: Path, text: str) -> None:
    path = tmp_path / "session.json"
    path.write_text(text)
    assert read_record(path) is None
    record = SessionRecord("t", "tmux", "log", "run", os.getpid(), None)
    write_record(path, record)
    assert read_record(path) == record
    path.write_text(path.read_text().replace('"token": "t"', '"token": 7'))
    assert read_record(path) is None


def test_record_is_alive_as_long_as_its_very_process() -> None:
    from weatherman.system.process import identity

    mine = SessionRecord("t", "tmux", "log", "run", os.getpid(), identity(os.getpid()))
    assert mine.is_alive
    assert not replace(mine, exit_code=0).is_alive
    assert not replace(mine, process="of an earlier boot").is_alive
    assert not replace(mine, process=None).is_alive


OUT_OF_MEMORY = (
    "[METAL] Command buffer execution failed: Insufficient Memory (kIOGPUCommandBufferCallbackErrorOutOfMemory)"
)
ABORTS = (
    "emit('start'); emit('engine', max_tokens_per_chunk=256)\n"
    "open('run/argv', 'a').write(json.dumps(sys.argv[1:]) + '\\n')\n"
    "if len(open('run/argv').readlines()) > 1: sys.exit(1)\n"
    f"print({OUT_OF_MEMORY!r}, flush=True); os.abort()"
)


def test_metal_out_of_memory_is_told_and_a_restart_takes_smaller_passes(tmp_path: Path) -> None:
    code, record, _ = supervised(tmp_path, ABORTS, restarts=1)
    assert code == 1
    log = (tmp_path / "logs" / "training.log").read_text()
    assert "Training failed: Metal ran out of memory with passes of 256 tokens. Hint: close other programs" in log
    assert [json.loads(line) for line in (tmp_path / "run" / "argv").read_text().splitlines()] == [
        [],
        ["--set", "max_tokens_per_chunk=128"],
    ]
    assert record.num_restarts == 1


def test_an_abort_without_metals_words_stays_an_abort(tmp_path: Path) -> None:
    _, record, _ = supervised(tmp_path, "emit('start'); os.abort()")
    assert record.cause == "the trainer was killed by SIGABRT"


@pytest.mark.parametrize(("tokens", "smaller"), [(256, 128), (100, 64), (64, None)])
def test_passes_are_halved_down_to_the_least(tokens: int, smaller: int | None) -> None:
    assert smaller_chunks(tokens) == smaller


def test_metals_timeout_is_told_apart_and_old_words_do_not_count(tmp_path: Path) -> None:
    log = tmp_path / "log"
    log.write_text(OUT_OF_MEMORY + "\n")
    begin = log.stat().st_size
    with log.open("a") as file:
        file.write("[METAL] Command buffer execution failed: Caused GPU Timeout Error\n")
    assert metal_cause(log, begin) == "a pass took Metal too long"
    assert metal_cause(log, log.stat().st_size) == ""
    assert metal_cause(tmp_path / "none", 0) == ""
