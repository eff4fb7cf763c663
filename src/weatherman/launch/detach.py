"""Starting a job that outlives the terminal: in tmux, or where that is missing as `setsid nohup` would.

A tmux server keeps the environment that it was started with, and what stands in an argument list can be read by every
user of the machine. So the job, environment included, goes through a named pipe that only this user can open, and
never rests on a disk.
"""

from __future__ import annotations

import errno
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

from weatherman.errors import WeathermanError
from weatherman.launch.session_record import SESSION, Job

_PATIENCE_S = 60.0
_POLL_S = 0.02
_TMUX_TIMEOUT_S = 20
_OF_THE_TERMINAL = ("TMUX", "TMUX_PANE", "TERM", "TERM_PROGRAM", "TERM_PROGRAM_VERSION")


def tmux(*arguments: str) -> tuple[int, str]:
    """Run tmux.

    Returns:
        Its exit code and what it said; 127 if it is missing or hangs.
    """
    try:
        done = subprocess.run(
            ["tmux", *arguments], stdin=subprocess.DEVNULL, capture_output=True, timeout=_TMUX_TIMEOUT_S, check=False
        )
    except (OSError, subprocess.TimeoutExpired) as problem:
        return 127, str(getattr(problem, "strerror", None) or problem)
    return done.returncode, (done.stdout + done.stderr).decode("utf-8", "replace").strip()


def has_session() -> bool:
    """Whether the tmux session is there."""
    return shutil.which("tmux") is not None and tmux("has-session", "-t", f"={SESSION}")[0] == 0


def attach_command() -> str:
    """How this terminal looks into the session; one that is inside tmux already cannot attach."""
    return f"tmux {'switch-client' if os.environ.get('TMUX') else 'attach'} -t {SESSION}"


def start_detached(job: Job) -> None:
    """Start a job in tmux or in the background, and hand it over.

    Raises:
        WeathermanError: it could not be started.
    """
    folder = Path(tempfile.mkdtemp(prefix="weatherman-"))
    try:
        pipe = folder / "job"
        os.mkfifo(pipe, 0o600)
        command = [sys.executable, "-m", "weatherman.launch.session", str(pipe)]
        alive = _start_in_tmux(command) if job.how == "tmux" else _start_in_background(command, job)
        _hand_over(pipe, job, alive)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _start_in_tmux(command: list[str]) -> Callable[[], bool]:
    code, said = tmux("new-session", "-d", "-s", SESSION, "-x", "200", "-y", "50", *command)
    if code != 0:
        text = f"tmux cannot start the session {SESSION}: {said or 'it gives no reason'}."
        raise WeathermanError("launch.tmux", text, "mend tmux, or train in this terminal with --foreground.")
    return has_session


def _start_in_background(command: list[str], job: Job) -> Callable[[], bool]:
    with Path(job.log).open("ab") as log:
        process = subprocess.Popen(
            ["nohup", *command], stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT, start_new_session=True
        )
    return lambda: process.poll() is None


def _hand_over(pipe: Path, job: Job, alive: Callable[[], bool]) -> None:
    data = memoryview(json.dumps(asdict(job)).encode("ascii"))
    until_s = time.monotonic() + _PATIENCE_S
    while True:
        try:
            fd = os.open(pipe, os.O_WRONLY | os.O_NONBLOCK)
            break
        except OSError as problem:  # nobody reads yet
            if problem.errno != errno.ENXIO or time.monotonic() > until_s or not alive():
                text = "the training session ended before it took its job over."
                raise WeathermanError("launch.session", text, f"look at {job.log}.") from problem
            time.sleep(_POLL_S)
    try:
        os.set_blocking(fd, True)
        while data:
            data = data[os.write(fd, data) :]
    except BrokenPipeError as problem:
        text = "the training session died while it took its job over."
        raise WeathermanError("launch.session", text, f"look at {job.log}.") from problem
    finally:
        os.close(fd)


def receive(pipe: Path, patience_s: float = _PATIENCE_S) -> Job:
    """Take a job over from the launcher; the variables that describe the terminal stay this terminal's.

    Raises:
        WeathermanError: none came; the launcher may have died.
    """
    try:
        job = Job(**json.loads(_read_pipe(pipe, patience_s)))
    except (OSError, ValueError, TypeError) as problem:
        text = f"no job could be read from {pipe}: {problem}."
        raise WeathermanError("launch.no-job", text, "start training with weatherman launch.") from problem
    for name in _OF_THE_TERMINAL:
        job.environ.pop(name, None)
        if name in os.environ:
            job.environ[name] = os.environ[name]
    return job


def _read_pipe(pipe: Path, patience_s: float) -> bytes:
    """Everything that one writer writes; nobody may ever come, so it is not waited for by the kernel."""
    until_s, data = time.monotonic() + patience_s, b""
    fd = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)
    try:
        while time.monotonic() < until_s:
            try:
                piece = os.read(fd, 2**16)
            except BlockingIOError:
                piece = None
            if piece:
                data += piece
            elif data and piece is not None:
                return data
            else:
                time.sleep(_POLL_S)
    finally:
        os.close(fd)
    raise ValueError("nobody wrote to it")
