"""`weatherman status`: what a run is doing, concluded from its folder alone, and what to do next.

The trainer writes what it knows into `status.json`. What it cannot write, that it was killed or hangs, is concluded
here: from its process where that is on this machine, from the beat of its lock where it is not. Ages are measured on
the clock since boot where possible, since the wall clock may be set.
"""

from __future__ import annotations

import datetime
import shlex
import socket
import time
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from weatherman.checkpoints.checkpoint import list_checkpoints
from weatherman.checkpoints.manifest import quick_check
from weatherman.checkpoints.resume import CRASH_LOOP_LIMIT, RESUME_FILE, ResumeState, read_resume
from weatherman.errors import WeathermanError
from weatherman.progress import format_duration
from weatherman.run.events import EVENTS_FILE, HEARTBEAT_FIELDS, STATUS_FILE, WRITTEN_STATES, Heartbeat, read_tail
from weatherman.run.lock import LOCK_FILE, PATIENCE_S, read_holder
from weatherman.run.spending import read_spending
from weatherman.system.atomic import read_json_object
from weatherman.system.clock import boot_id, since_boot_s
from weatherman.system.own_command import own_command
from weatherman.system.process import identity, is_suspended

STATES = ("starting", "running", "stalled", "stopped", "finished", "failed", "crash-loop", "dead")
ENDED = ("stopped", "finished", "failed", "crash-loop", "dead")
_MAX_BYTES = 2**16
_TAIL_EVENTS = 50


@dataclass(frozen=True, slots=True)
class RunStatus:
    """What is known of a run.

    Args:
        run: the run's folder.
        state: one of `STATES`.
        reason: why it is concluded to be in that state; empty where the trainer itself said so.
        step: the last completed optimizer step.
        total: the run's last step, if known.
        loss: of the last step.
        tokens_per_s: effective tokens per second.
        eta_s: seconds left; None once it is over.
        busy_s: seconds of all attempts together.
        hourly_rate: dollars an hour, if known; the mean where attempts had several.
        cost_so_far: dollars, where an hourly rate is known: rate x hours.
        budget: what a budget of minutes or dollars did to the number of steps, in words.
        last_verified_checkpoint: name of the newest checkpoint whose manifest and sizes are right.
        attempt: number of the last start.
        resume_count: starts since the last progress.
        message: what the trainer said last.
        next_action: a command.
        exit_code: of the last attempt; None while it runs, or if nobody could see it.
        host: the trainer's machine.
        pid: the trainer's process id.
        age_s: seconds since the trainer's last sign of life.
        updated_at: the same as a time, ISO 8601 UTC.
    """

    run: str
    state: str
    reason: str = ""
    step: int = 0
    total: int | None = None
    loss: float | None = None
    tokens_per_s: float | None = None
    eta_s: float | None = None
    busy_s: float = 0.0
    hourly_rate: float | None = None
    cost_so_far: float | None = None
    budget: str | None = None
    last_verified_checkpoint: str | None = None
    attempt: int = 1
    resume_count: int | None = None
    message: str = ""
    next_action: str = ""
    exit_code: int | None = None
    host: str = ""
    pid: int | None = None
    age_s: float | None = None
    updated_at: str = ""

    def to_json(self) -> dict[str, Any]:
        """Give the status as `docs/schemas/status.schema.json` describes it."""
        return {"format_version": 1, **asdict(self)}


def read_status(run_dir: Path) -> RunStatus:
    """Conclude what a run is doing; nothing in its folder is changed.

    Raises:
        WeathermanError: there is no run in that folder.
    """
    names = (STATUS_FILE, RESUME_FILE, EVENTS_FILE)
    if not any((run_dir / name).is_file() for name in names) and not list_checkpoints(run_dir):
        raise WeathermanError(
            "status.no-run",
            f"{run_dir} holds no run: none of {', '.join(names)} is there.",
            "give the output_dir of a training run.",
        )
    beat, problem = _read_heartbeat(run_dir)
    try:
        resume = read_resume(run_dir)
    except WeathermanError as unreadable:
        resume, problem = None, problem or unreadable.message
    if beat is None:
        beat = _heartbeat_from_events(run_dir)
    age_s = _age_s(beat)
    state, reason = _conclude(run_dir, beat, resume, age_s)
    last_verified = _last_verified(run_dir)
    step = _last_step(state, beat, last_verified)
    spent = read_spending(run_dir, until_s=None if state in ENDED else time.time())
    status = RunStatus(
        run=str(run_dir), state=state, reason=reason or problem, step=step, total=beat.total, loss=beat.loss,
        tokens_per_s=beat.tokens_per_s, eta_s=None if state in ENDED else beat.eta_s,
        busy_s=spent.busy_s, hourly_rate=spent.hourly_rate, cost_so_far=spent.dollars, budget=beat.budget,
        last_verified_checkpoint=last_verified, attempt=beat.attempt,
        resume_count=resume.resume_count if resume else None, message=beat.message, exit_code=_exit_code(state, beat),
        host=beat.host, pid=beat.pid or None, age_s=None if age_s is None else round(age_s, 1),
        updated_at=beat.updated_at,
    )  # fmt: skip
    return replace(status, next_action=_next_action(run_dir, status, beat))


def _read_heartbeat(run_dir: Path) -> tuple[Heartbeat | None, str]:
    """Read `status.json`; where it cannot be used, say why. Fields of a wrong type count as absent."""
    try:
        raw = read_json_object(run_dir / STATUS_FILE, _MAX_BYTES)
    except FileNotFoundError:
        return None, f"{STATUS_FILE} is missing"
    except (OSError, ValueError) as problem:
        return None, f"{STATUS_FILE} cannot be used: {problem}"
    default = Heartbeat()
    known = {name: raw[name] for name in HEARTBEAT_FIELDS if name in raw and _fits(name, raw[name], default)}
    beat = Heartbeat(**known)
    if raw.get("state") not in WRITTEN_STATES:
        return None, f"{STATUS_FILE} names no state"
    return beat, ""


_WHOLE = ("total", "exit_code")
_NUMBERS = ("loss", "tokens_per_s", "eta_s")


def _fits(name: str, value: Any, default: Heartbeat) -> bool:
    usual = getattr(default, name)
    if usual is None and value is None:
        return True
    if name in _NUMBERS or isinstance(usual, float):
        return type(value) in (int, float) and abs(value) < 1e15
    if name in _WHOLE or isinstance(usual, int):
        return type(value) is int and (0 if name != "exit_code" else -255) <= value < 10**12
    return isinstance(value, str)


def _heartbeat_from_events(run_dir: Path) -> Heartbeat:
    """Make the best of the events, the record of truth, when there is no heartbeat."""
    known: dict[str, Any] = {"state": "running"}
    default = Heartbeat()
    for event in read_tail(run_dir / EVENTS_FILE, _TAIL_EVENTS):
        fields = {**event, "updated_at": event.get("time")}
        known |= {
            name: fields[name]
            for name in ("step", "total", "loss", "tokens_per_s", "attempt", "updated_at")
            if name in fields and _fits(name, fields[name], default)
        }
    return Heartbeat(**known)


def _age_s(beat: Heartbeat) -> float | None:
    if beat.boot == boot_id() and beat.updated_since_boot_s:
        return max(0.0, since_boot_s() - beat.updated_since_boot_s)
    try:
        written = datetime.datetime.strptime(beat.updated_at, "%Y-%m-%dT%H:%M:%S.%f%z").timestamp()
    except ValueError:
        return None
    return max(0.0, time.time() - written)


def _conclude(run_dir: Path, beat: Heartbeat, resume: ResumeState | None, age_s: float | None) -> tuple[str, str]:
    """Conclude the state, and why it is not the one that was written."""
    if beat.state == "crash-loop":
        return beat.state, _cause_of_crash_loop(resume) if resume else ""
    if beat.state in ENDED:
        return beat.state, ""
    alive, reason = _is_alive(run_dir, beat)
    if not alive:
        if resume and resume.finished:
            return "finished", ""
        if resume and resume.clean_stop:
            return "stopped", ""
        if _is_taken(run_dir):
            return "starting", "a new attempt has begun and has not reported yet"
        if resume and resume.resume_count >= CRASH_LOOP_LIMIT:
            return "crash-loop", _cause_of_crash_loop(resume)
        return "dead", reason
    if _is_here(beat) and is_suspended(beat.pid):
        return "stalled", f"process {beat.pid} is suspended"
    if age_s is not None and age_s > beat.patience_s:
        return "stalled", f"no sign of progress for {format_duration(age_s)}"
    return beat.state, ""


def _cause_of_crash_loop(resume: ResumeState | None) -> str:
    said = resume.last_error if resume else None
    cause = f"the last failure said: {said}" if said else "none left a word: killed, most often since memory ran out"
    return f"{CRASH_LOOP_LIMIT} starts in a row made no progress; {cause}"


def _last_step(state: str, beat: Heartbeat, checkpoint: str | None) -> int:
    """The step that was reached; an attempt that ended before its first one knows less than its checkpoint."""
    saved = int(checkpoint.rpartition("-")[2]) if checkpoint and state in ENDED else 0
    return max(beat.step, saved)


def _is_here(beat: Heartbeat) -> bool:
    return beat.pid > 0 and beat.host == socket.gethostname() and beat.boot == boot_id()


def _is_alive(run_dir: Path, beat: Heartbeat) -> tuple[bool, str]:
    if _is_here(beat):
        if beat.process is not None and identity(beat.pid) == beat.process:
            return True, ""
        return False, (
            f"process {beat.pid} is gone and did not say goodbye: it was killed (exit code 137), most often since "
            "memory ran out; if so, weatherman plan says how much is needed; a smaller max_tokens_per_chunk needs less"
        )
    try:
        silent_s = abs(time.time() - (run_dir / LOCK_FILE).stat().st_mtime)
    except OSError:
        return False, "no trainer holds this folder"
    if silent_s > 2 * PATIENCE_S:
        where = f"on {beat.host}" if beat.host else "of its lock"
        return False, f"no sign of life {where} for {format_duration(silent_s)}; its process cannot be seen from here"
    return True, ""


def _is_taken(run_dir: Path) -> bool:
    """Whether a living process of this machine holds the folder."""
    holder = read_holder(run_dir / LOCK_FILE)
    return holder is not None and holder.is_local and identity(holder.pid) == holder.process is not None


def _last_verified(run_dir: Path) -> str | None:
    for _, path in list_checkpoints(run_dir):
        try:
            quick_check(path)
        except WeathermanError:
            continue
        return path.name
    return None


def _exit_code(state: str, beat: Heartbeat) -> int | None:
    known = {"finished": 0, "crash-loop": 2, "failed": 1 if beat.exit_code is None else beat.exit_code}
    return known.get(state, beat.exit_code if state == "stopped" else None)


def _next_action(run_dir: Path, status: RunStatus, beat: Heartbeat) -> str:
    folder = shlex.quote(str(run_dir))
    command = beat.command or "make train"
    if status.state == "stalled" and "suspended" in status.reason:
        return f"kill -CONT {beat.pid}"
    if status.state in ("starting", "running"):
        return own_command("status", str(run_dir), "--watch")
    if beat.next_action and status.state == beat.state:
        return beat.next_action
    return {
        "stalled": f"tail -n 5 {folder}/{EVENTS_FILE}",
        "finished": f"ls {folder}/adapter",
        "crash-loop": f"{command} --reset-crash-loop",
    }.get(status.state, command)


def latest_run(runs_root: Path) -> Path:
    """Find the run under a folder that was last heard of.

    Raises:
        WeathermanError: there is none.
    """
    found = []
    for folder in runs_root.iterdir() if runs_root.is_dir() else ():
        times = [path.stat().st_mtime for name in (STATUS_FILE, RESUME_FILE) if (path := folder / name).is_file()]
        if times:
            found.append((max(times), folder))
    if not found:
        raise WeathermanError("status.no-run", f"there is no run in {runs_root} yet.", "start one with: make train")
    return max(found)[1]
