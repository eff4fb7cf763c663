"""`events.jsonl`, the append-only record of a run, and `status.json`, its heartbeat."""

from __future__ import annotations

import json
import os
import socket
import threading
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any, BinaryIO

from weatherman import messages
from weatherman.system.atomic import write_json
from weatherman.system.clock import boot_id, now_utc, since_boot_s
from weatherman.system.process import identity
from weatherman.system.quarantine import set_aside_unless_file

EVENTS_FILE = "events.jsonl"
STATUS_FILE = "status.json"
WRITTEN_STATES = ("starting", "running", "stopped", "finished", "failed", "crash-loop")
_MAX_LINE_BYTES = 2**20
_TAIL_BYTES = 2**18


class EventLog:
    """Appends one JSON object a line; every line carries time, attempt and kind.

    A line torn by an earlier death is ended first, so that ours begins on a line of its own. A disk that refuses the
    line is told once and never stops training. What is no regular file is moved aside.

    Args:
        output_dir: the run's folder.
        attempt: this start's number.
    """

    def __init__(self, output_dir: Path, attempt: int) -> None:
        self._path = output_dir / EVENTS_FILE
        self._attempt = attempt
        self._told = False
        set_aside_unless_file(output_dir, self._path)
        self._torn = _ends_torn(self._path)

    def emit(self, kind: str, **fields: Any) -> None:
        """Append one event; its text is redacted, NaN and infinities are spelt as text."""
        fixed = {"time": now_utc(), "attempt": self._attempt, "kind": kind}
        line = json.dumps(_plain({**fixed, **fields, **fixed}), allow_nan=False)
        self._append(line.encode("ascii") + b"\n")

    def _append(self, data: bytes) -> None:
        if self._torn:
            data = b"\n" + data
        try:
            flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW
            fd = os.open(self._path, flags, 0o644)
            try:
                num_written = os.write(fd, data)
            finally:
                os.close(fd)
            if num_written:
                self._torn = num_written < len(data)
        except OSError as problem:
            if not self._told:
                self._told = True
                messages.warning(f"{self._path} cannot be written ({problem.strerror}); training goes on.")


def _ends_torn(path: Path) -> bool:
    try:
        with path.open("rb") as file:
            file.seek(-1, os.SEEK_END)
            return file.read(1) != b"\n"
    except OSError:
        return False


def _plain(value: Any) -> Any:
    """Make a value strict JSON without secrets: what JSON has no word for becomes text."""
    if isinstance(value, str):
        return messages.redact(value)
    if isinstance(value, float):
        return value if abs(value) < float("inf") else {"nan": "NaN", "inf": "Infinity"}.get(str(value), "-Infinity")
    if isinstance(value, dict):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    return value if value is None or isinstance(value, (bool, int)) else messages.redact(str(value))


def read_events(path: Path, on_bad: Callable[[int], None] | None = None) -> Iterator[dict[str, Any]]:
    """Yield the events of a file; lines that are torn or no events are passed over.

    Args:
        path: the file; a missing one has no events.
        on_bad: called with the number (from 1) of each line that is passed over.
    """
    try:
        file = path.open("rb")
    except OSError:
        return
    with file:
        for number, line in enumerate(_lines(file), start=1):
            event = parse_event(line)
            if event is not None:
                yield event
            elif on_bad and line.strip():
                on_bad(number)


def read_tail(path: Path, num_events: int) -> list[dict[str, Any]]:
    """Read the last events of a file, oldest first; of a long file no more than its last 256 KiB are touched."""
    try:
        with path.open("rb") as file:
            if file.seek(0, os.SEEK_END) > _TAIL_BYTES:
                file.seek(-_TAIL_BYTES, os.SEEK_END)
                file.readline()
            else:
                file.seek(0)
            lines = file.read(_TAIL_BYTES).split(b"\n")
    except OSError:
        return []
    found: list[dict[str, Any]] = []
    while lines and len(found) < num_events:
        if (event := parse_event(lines.pop())) is not None:
            found.append(event)
    return found[::-1]


def _lines(file: BinaryIO) -> Iterator[bytes]:
    """Lines of bounded length; one that is too long is garbage and becomes empty."""
    while line := file.readline(_MAX_LINE_BYTES):
        if len(line) == _MAX_LINE_BYTES and not line.endswith(b"\n"):
            while (more := file.readline(_MAX_LINE_BYTES)) and not more.endswith(b"\n"):
                pass
            line = b"?\n"
        yield line


def parse_event(line: bytes) -> dict[str, Any] | None:
    """Read one line of a file of events; None if it is torn or no event."""
    try:
        event = json.loads(line)
    except (ValueError, RecursionError):
        return None
    return event if isinstance(event, dict) and isinstance(event.get("kind"), str) else None


@dataclass(frozen=True, slots=True)
class Heartbeat:
    """What `status.json` holds.

    Args:
        state: one of `WRITTEN_STATES`; stalled and dead are what a reader concludes.
        step: the last completed optimizer step.
        total: the run's last step.
        loss: of that step; None when it is not a finite number.
        tokens_per_s: effective tokens per second.
        eta_s: seconds left.
        last_checkpoint: name of the last checkpoint's folder.
        budget: what a budget of minutes or dollars did to the number of steps, in words.
        message: what is being done, or what went wrong.
        next_action: a command, where the state alone does not tell it.
        command: the command that starts, and goes on with, this run.
        exit_code: of the attempt, once it is over.
        patience_s: how long this phase may be silent before it counts as stalled.
        attempt: number of this start.
        host: the machine's name.
        pid: the trainer's process id.
        process: its name that no other process ever has.
        started_at: when the attempt began, ISO 8601 UTC.
        updated_at: when this was written, ISO 8601 UTC.
        boot: the machine's start that `updated_since_boot_s` counts from.
        updated_since_boot_s: seconds since boot when this was written.
    """

    state: str = "starting"
    step: int = 0
    total: int | None = None
    loss: float | None = None
    tokens_per_s: float | None = None
    eta_s: float | None = None
    last_checkpoint: str | None = None
    budget: str | None = None
    message: str = ""
    next_action: str | None = None
    command: str | None = None
    exit_code: int | None = None
    patience_s: float = 600.0
    attempt: int = 1
    host: str = ""
    pid: int = 0
    process: str | None = None
    started_at: str = ""
    updated_at: str = ""
    boot: str = ""
    updated_since_boot_s: float = 0.0


HEARTBEAT_FIELDS = tuple(field.name for field in fields(Heartbeat))


def _redacted(values: dict[str, Any]) -> dict[str, Any]:
    return {key: messages.redact(value) if isinstance(value, str) else value for key, value in values.items()}


class StatusFile:
    """Replaces `status.json` atomically; a disk that refuses it is told once and never stops training.

    Args:
        output_dir: the run's folder.
        attempt: this start's number.
        command: the command that goes on with this run.
    """

    def __init__(self, output_dir: Path, attempt: int, command: str | None = None) -> None:
        self._path = output_dir / STATUS_FILE
        self._told = False
        self._lock = threading.Lock()  # a signal is told from a thread of its own
        set_aside_unless_file(output_dir, self._path)
        pid = os.getpid()
        self._last = Heartbeat(
            attempt=attempt, host=socket.gethostname(), pid=pid, process=identity(pid), command=command,
            started_at=now_utc(), boot=boot_id(),
        )  # fmt: skip

    def write(self, **changes: Any) -> None:
        """Change the given fields of the heartbeat and write it.

        Raises:
            TypeError: a field that `Heartbeat` does not have.
            ValueError: a state that is not one of `WRITTEN_STATES`.
        """
        if changes.get("state", self._last.state) not in WRITTEN_STATES:
            raise ValueError(f"unknown state {changes['state']!r}")
        try:
            with self._lock:
                self._last = replace(self._last, **changes, updated_at=now_utc(), updated_since_boot_s=since_boot_s())
                write_json(self._path, _redacted(asdict(self._last)), durable=False)
        except OSError as problem:
            if not self._told:
                self._told = True
                messages.warning(f"{self._path} cannot be written ({problem.strerror}); training goes on.")
