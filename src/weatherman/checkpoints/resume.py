"""`resume_metadata.json`: how often a run was started without getting further, and the crash-loop verdict.

Progress is the highest optimizer step ever completed. Each start increments `resume_count` and persists it before
anything that can crash is loaded; any progress sets it back to 0; clean stops do not count.

Two files, for two needs. `resume_metadata.json` is always written durably, so that neither a kill nor a power cut can
leave it unreadable: if it is, something else is wrong, and it is refused rather than reset. `progress.json` holds the
highest step alone; it is replaced at every step without waiting for the disk.
"""

from __future__ import annotations

import json
import uuid
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from weatherman import messages
from weatherman.checkpoints.checkpoint import list_checkpoints
from weatherman.checkpoints.manifest import quick_check
from weatherman.errors import EXIT_CRASH_LOOP, WeathermanError
from weatherman.system.atomic import read_json_object, write_json
from weatherman.system.clock import now_utc
from weatherman.system.quarantine import set_aside

RESUME_FILE = "resume_metadata.json"
PROGRESS_FILE = "progress.json"
FINAL_ADAPTER = Path("adapter", "adapter_model.safetensors")
CRASH_LOOP_LIMIT = 3
_MAX_BYTES = 2**16
_CODES_OF_INPUT = ("data.", "config.", "template.", "resume.changed")  # the user mends these, one by one
_MAX_COUNT = 10**12
_MAX_ERROR_CHARS = 500
_NONE = type(None)
_told_of_progress: set[Path] = set()  # run folders whose user knows that progress cannot be written
_KINDS: dict[str, tuple[type, ...]] = {
    "run_id": (str,), "last_step": (int,), "last_checkpoint": (str, _NONE), "resume_count": (int,), "attempt": (int,),
    "last_resume_time": (str, _NONE), "clean_stop": (bool,), "finished": (bool,), "last_error": (str, _NONE),
}  # fmt: skip


@dataclass(slots=True)
class ResumeState:
    """What a start must know of the ones before.

    Args:
        run_id: the run's name for ever.
        last_step: the highest optimizer step ever completed.
        last_checkpoint: name of the last checkpoint's folder.
        resume_count: starts since the last progress, clean stops left out.
        attempt: number of this start, from 1.
        last_resume_time: when the run was last resumed, ISO 8601 UTC.
        clean_stop: the last attempt saved and stopped because it was asked to.
        finished: the run is complete.
        last_error: what the last attempt said when it failed.
    """

    run_id: str
    last_step: int = 0
    last_checkpoint: str | None = None
    resume_count: int = 0
    attempt: int = 1
    last_resume_time: str | None = None
    clean_stop: bool = False
    finished: bool = False
    last_error: str | None = None


def read_resume(output_dir: Path) -> ResumeState | None:
    """Read the state of a run, the progress since it was written included; None if there is none.

    Raises:
        WeathermanError: it is there but cannot be trusted; the counter is never silently reset.
    """
    return _read(output_dir, warn=False)


def _read(output_dir: Path, *, warn: bool) -> ResumeState | None:
    path = output_dir / RESUME_FILE
    try:
        state = _checked(read_json_object(path, _MAX_BYTES))
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as problem:
        raise WeathermanError(
            "resume.unreadable",
            f"{path} cannot be used: {getattr(problem, 'strerror', None) or problem}.",
            "the crash-loop counter is kept there and is never reset silently; if the run may go on, "
            "run the same command with --reset-crash-loop.",
        ) from problem
    step = _read_progress(output_dir, state.run_id, warn=warn)
    if step > state.last_step:
        state.last_step, state.resume_count = step, 0
    return state


def _checked(raw: dict[str, Any]) -> ResumeState:
    for name, kinds in _KINDS.items():
        if name not in raw:
            raise ValueError(f"{name} is missing")
        if type(raw[name]) not in kinds:
            raise ValueError(f"{name} is {json.dumps(raw[name])[:40]}")
    for name in ("last_step", "resume_count", "attempt"):
        if not 0 <= raw[name] < _MAX_COUNT:
            raise ValueError(f"{name} is impossible")
    return ResumeState(**{name: raw[name] for name in _KINDS})


def _read_progress(output_dir: Path, run_id: str, *, warn: bool) -> int:
    """Read the highest step of `progress.json`; 0 if it says nothing of this run. A power cut may have torn it."""
    try:
        raw = read_json_object(output_dir / PROGRESS_FILE, _MAX_BYTES)
    except FileNotFoundError:
        return 0
    except (OSError, ValueError) as problem:
        reason = getattr(problem, "strerror", None) or problem
        if warn:
            messages.warning(f"{output_dir / PROGRESS_FILE} cannot be used ({reason}); only {RESUME_FILE} is believed.")
        return 0
    step = raw.get("last_step")
    return step if raw.get("run_id") == run_id and type(step) is int and 0 <= step < _MAX_COUNT else 0


def begin_attempt(output_dir: Path, reset_crash_loop: bool = False) -> ResumeState:
    """Count this start, persist it, then judge. Call it with the run's lock held, before the model is loaded.

    Args:
        output_dir: the run's folder; it exists.
        reset_crash_loop: set the counter to 0; a state that cannot be read is moved aside first.

    Returns:
        The state of this attempt; that of a finished run is returned as it is.

    Raises:
        WeathermanError: the state cannot be read or written; with exit code 2, the run crashed three times in a row
            without completing another step.
    """
    state = _read_or_adopt(output_dir, reset_crash_loop)
    if state.finished:
        return state
    if reset_crash_loop:
        state.resume_count = 0
    try:
        write_json(output_dir / RESUME_FILE, asdict(state))
    except OSError as problem:
        raise WeathermanError(
            "resume.unwritable",
            f"{output_dir / RESUME_FILE} cannot be written: {problem.strerror or problem}.",
            "make the folder writable and see that its disk has space.",
        ) from problem
    if state.resume_count >= CRASH_LOOP_LIMIT:
        raise _crash_loop(output_dir, state)
    return state


def _read_or_adopt(output_dir: Path, reset_crash_loop: bool) -> ResumeState:
    """Make the state of a further start; or of a first one, which takes up checkpoints that are already there."""
    try:
        state = _read(output_dir, warn=True)
    except WeathermanError as problem:
        if not reset_crash_loop:
            raise
        try:
            set_aside(output_dir, output_dir / RESUME_FILE, problem.message)
        except OSError as cause:
            raise problem from cause
        state = None
    if state is None:
        return _adopt(output_dir)
    if state.finished and not (output_dir / FINAL_ADAPTER).is_file():
        messages.warning(f"{output_dir} was finished, but its adapter is gone: it is made again.")
        state.finished = False
    if not state.finished:
        state.attempt += 1
        state.resume_count += 0 if state.clean_stop else 1
        state.clean_stop = False
        state.last_resume_time = now_utc()
    return state


def _adopt(output_dir: Path) -> ResumeState:
    for step, path in list_checkpoints(output_dir):
        try:
            run_id = quick_check(path).run_id
        except WeathermanError:
            continue
        messages.warning(f"{output_dir} has checkpoints but no {RESUME_FILE}: the crash-loop counter begins at 0.")
        last_step = max(step, _read_progress(output_dir, run_id, warn=True))
        return ResumeState(run_id, last_step, path.name, last_resume_time=now_utc())
    return ResumeState(uuid.uuid4().hex)


def _crash_loop(output_dir: Path, state: ResumeState) -> WeathermanError:
    said = f" The last failure said: {state.last_error}" if state.last_error else ""
    return WeathermanError(
        "train.crash-loop",
        f"Crash loop detected: {CRASH_LOOP_LIMIT} starts in a row of {output_dir} ended before step "
        f"{state.last_step + 1} was complete.{said}",
        f"look at {output_dir / 'events.jsonl'} and the log, mend the cause, then run again with --reset-crash-loop.",
        exit_code=EXIT_CRASH_LOOP,
    )


def record_step(output_dir: Path, state: ResumeState, step: int) -> None:
    """Persist a completed step: cheap, and safe against SIGKILL. Only a step beyond all earlier ones is progress."""
    if step <= state.last_step:
        return
    state.last_step = step
    if state.resume_count or state.last_error:
        state.resume_count, state.last_error = 0, None
        _persist(output_dir, state)
    try:
        write_json(output_dir / PROGRESS_FILE, {"run_id": state.run_id, "last_step": step}, durable=False)
    except OSError as problem:
        if output_dir not in _told_of_progress:
            _told_of_progress.add(output_dir)
            messages.warning(f"{output_dir / PROGRESS_FILE} cannot be written ({problem.strerror}); training goes on.")


def record_checkpoint(output_dir: Path, state: ResumeState, checkpoint: Path) -> None:
    """Persist that a checkpoint was saved."""
    state.last_checkpoint = checkpoint.name
    _persist(output_dir, state)


def record_clean_stop(output_dir: Path, state: ResumeState) -> None:
    """Persist that the run saved and stops because it was asked to: the next start does not count."""
    state.clean_stop = True
    _persist(output_dir, state)


def record_finished(output_dir: Path, state: ResumeState) -> None:
    """Persist that the run is complete."""
    state.finished = True
    _persist(output_dir, state)


def record_failure(output_dir: Path, state: ResumeState, message: str, code: str = "") -> None:
    """Persist what a failing attempt said, for the crash loop's message.

    Args:
        output_dir: the run's folder.
        state: of this attempt.
        message: what was said.
        code: of the error. One that names what is wrong with the user's data or configuration is no crash: the start
            does not count.
    """
    state.last_error = messages.redact(message)[:_MAX_ERROR_CHARS]
    if code.startswith(_CODES_OF_INPUT) and state.resume_count:
        state.resume_count -= 1
    _persist(output_dir, state)


def announce_resume(step: int) -> None:
    """Print the line that the launcher and agents wait for."""
    messages.resume(f"Found checkpoint at step {step}. Resuming training.")


def _persist(output_dir: Path, state: ResumeState) -> None:
    """Write the state; a disk that refuses is only warned of, since the counter on it can only be too high."""
    try:
        write_json(output_dir / RESUME_FILE, asdict(state))
    except OSError as problem:
        reason = problem.strerror or problem
        messages.warning(f"{output_dir / RESUME_FILE} cannot be written ({reason}); the run goes on.")
