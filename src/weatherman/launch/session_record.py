"""`logs/session.json`: which training was started in this project last, by which process, and how it ended."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

from weatherman.system.atomic import read_json_object, write_json
from weatherman.system.process import identity

LOGS = "logs"
RECORD_FILE = "session.json"
SESSION = "weatherman-training"
_MAX_BYTES = 2**16


@dataclass(frozen=True, slots=True)
class Job:
    """What a session is to do.

    Attributes:
        token: names this start; the session's record carries it.
        how: "tmux", "background" (setsid nohup) or "foreground".
        command: the trainer's.
        environ: the trainer's environment.
        folder: the project's folder, where the command runs.
        log: where its output goes.
        run: the run's folder.
        platform: "H100", "M4" or "DEMO".
        restarts: how often it is started again after a crash.
        auto_stop_pod: stop the rented pod once the adapter is there and verified.
        rehearse: the pod is not really stopped.
    """

    token: str
    how: str
    command: list[str]
    environ: dict[str, str] = field(repr=False)
    folder: str
    log: str
    run: str
    platform: str
    restarts: int = 0
    auto_stop_pod: bool = False
    rehearse: bool = False

    @property
    def tag(self) -> str:
        """The tag of this training's lines."""
        return f"TRAINING-{self.platform}"

    @property
    def record_path(self) -> Path:
        """Where the session's record is kept."""
        return Path(self.folder) / LOGS / RECORD_FILE


@dataclass(frozen=True, slots=True)
class SessionRecord:
    """A session as its own process knows it. `exit_code` is None until it is over; `cause` says why it failed."""

    token: str
    how: str
    log: str
    run: str
    pid: int
    process: str | None
    trainer_pid: int | None = None
    num_restarts: int = 0
    exit_code: int | None = None
    cause: str = ""

    @property
    def is_alive(self) -> bool:
        """Whether its process still runs on this machine."""
        return self.exit_code is None and self.process is not None and identity(self.pid) == self.process


def write_record(path: Path, record: SessionRecord) -> None:
    """Replace the record.

    Raises:
        OSError: it cannot be written.
    """
    write_json(path, asdict(record), durable=False)


def read_record(path: Path) -> SessionRecord | None:
    """Read the record; None if there is none that makes sense."""
    try:
        raw = read_json_object(path, _MAX_BYTES)
    except (OSError, ValueError):
        return None
    known = {one.name: raw[one.name] for one in fields(SessionRecord) if one.name in raw}
    try:
        record = SessionRecord(**known)
    except TypeError:
        return None
    return record if _makes_sense(record) else None


def _makes_sense(record: SessionRecord) -> bool:
    texts: list[Any] = [record.token, record.how, record.log, record.run, record.cause]
    numbers: list[Any] = [record.pid, record.trainer_pid or 1, record.exit_code or 0, record.num_restarts]
    return all(isinstance(text, str) for text in texts) and all(type(number) is int for number in numbers)
