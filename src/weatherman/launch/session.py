"""What runs in the tmux session: the trainer as a child, its log, its restarts, and what follows its end.

The child writes straight into the log, in a session of its own: neither a closed terminal nor the death of this
process touches it. Signals that end this process are passed on to it once, and it saves before it leaves.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import FrameType
from typing import Any, TextIO

from weatherman import messages
from weatherman.errors import EXIT_CRASH_LOOP, EXIT_FAILED, WeathermanError
from weatherman.launch import pod
from weatherman.launch.follow import Follower, file_size, relay
from weatherman.launch.metal import metal_cause, smaller_chunks
from weatherman.launch.power import Health, keep_awake
from weatherman.launch.session_record import Job, SessionRecord, write_record
from weatherman.preflight.probe import SystemProbe
from weatherman.run.events import EVENTS_FILE
from weatherman.run.webhook import notify
from weatherman.system.process import identity

_POLL_S = 0.2
_RESTART_AFTER_S = 2.0
_SIGNALS = {signal.SIGHUP: 129, signal.SIGINT: 130, signal.SIGTERM: 143}


@dataclass(slots=True)
class _Signals:
    """Passes SIGTERM, SIGINT and SIGHUP on to the trainer; what is ignored (nohup) stays ignored."""

    child_pid: int | None = None
    asked: int | None = None

    def install(self) -> None:
        for number in _SIGNALS:
            if signal.getsignal(number) is not signal.SIG_IGN:
                signal.signal(number, self._pass_on)

    def _pass_on(self, number: int, frame: FrameType | None) -> None:
        if number == signal.SIGHUP and self.asked == number:  # a terminal that closes may say so twice
            return
        self.asked = number
        self.tell_child()

    def tell_child(self) -> None:
        if self.child_pid is not None and self.asked is not None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.child_pid, self.asked)


@dataclass(slots=True)
class _Attempt:
    """What one start of the trainer said in the run's events."""

    began: bool = False
    stopped: bool = False
    crash_loop: str | None = None
    failure: str | None = None
    chunk_tokens: int | None = None

    def see(self, event: dict[str, Any]) -> None:
        text = str(event.get("message", ""))
        if event["kind"] == "start":
            self.began = True
        elif event["kind"] == "engine":
            found = event.get("max_tokens_per_chunk")
            self.chunk_tokens = found if isinstance(found, int) else None
        elif event["kind"] == "stop":
            self.stopped = True
        elif event["kind"] == "crash-loop":
            self.crash_loop = text
        elif event["kind"] == "failure":
            self.failure = text

    def verdict(self, code: int, asked: int | None) -> tuple[int, str]:
        """The session's exit code, and why it failed: 2 only for a crash loop, whoever else may use that number."""
        if code == 0 or (code in _SIGNALS.values() and (self.stopped or asked is not None)):
            return code, ""
        if code == EXIT_CRASH_LOOP and self.crash_loop is not None:
            return code, self.crash_loop
        if asked is not None and code == -asked:  # before it could take the signal over
            return _SIGNALS[signal.Signals(asked)], ""
        if code < 0:
            name = signal.Signals(-code).name if -code in set(signal.Signals) else f"signal {-code}"
            memory = " (out of memory, or kill -9)" if -code == signal.SIGKILL else ""
            return EXIT_FAILED, f"the trainer was killed by {name}{memory}"
        return EXIT_FAILED, self.failure or f"the trainer ended with exit code {code} and gave no reason"


@dataclass(slots=True)
class _Session:
    """A job at work."""

    job: Job
    screen: TextIO
    log: TextIO
    record: SessionRecord
    shown: Follower
    signals: _Signals = field(default_factory=_Signals)
    health: Health | None = None

    def run(self) -> int:
        """Start the trainer until it ends well, is asked to stop, or may not be started again."""
        while True:
            attempt, begin = _Attempt(), file_size(Path(self.job.log))
            ended = self._run_once(attempt)
            code, cause = attempt.verdict(ended, self.signals.asked)
            smaller: list[str] = []
            if code == EXIT_FAILED and ended == -signal.SIGABRT:
                cause, smaller = self._after_abort(attempt, begin, cause)
            if code == EXIT_FAILED and "killed by" in cause:
                notify(Path(self.job.run), "failure")
            left = self.job.restarts - self.record.num_restarts
            if code != EXIT_FAILED or not attempt.began or left <= 0 or self.signals.asked is not None:
                return self._end(code, cause)
            self.note(num_restarts=self.record.num_restarts + 1)
            messages.warning(f"Training failed: {cause}. Restart {self.record.num_restarts} of {self.job.restarts}.")
            self._pause(_RESTART_AFTER_S)
            kept = [word for word in self.job.command if word != "--reset-crash-loop"]
            self.job = replace(self.job, command=[*kept, *smaller])
            if self.signals.asked is not None:
                return self._end(_SIGNALS[signal.Signals(self.signals.asked)], "")

    def _after_abort(self, attempt: _Attempt, begin: int, cause: str) -> tuple[str, list[str]]:
        """What Metal's abort means, and the options with which the next start takes smaller passes."""
        words = metal_cause(Path(self.job.log), begin)
        if not words:
            return cause, []
        smaller = smaller_chunks(attempt.chunk_tokens) if attempt.chunk_tokens else None
        if smaller is None:
            return f"{words}. Hint: close other programs, or lower max_seq_length in a new output_dir", []
        setting = f"max_tokens_per_chunk={smaller}"
        passes = f"with passes of {attempt.chunk_tokens:,} tokens"
        return f"{words} {passes}. Hint: close other programs, and --set {setting}", ["--set", setting]

    def note(self, **changes: Any) -> None:
        """Change the record; a disk that refuses it must not end a run."""
        self.record = replace(self.record, **changes)
        with contextlib.suppress(OSError):
            write_record(self.job.record_path, self.record)

    def _run_once(self, attempt: _Attempt) -> int:
        job, events = self.job, Path(self.job.run) / EVENTS_FILE
        seen = Follower(events, file_size(events))
        child = subprocess.Popen(
            job.command, cwd=job.folder, env=job.environ, stdin=subprocess.DEVNULL, stdout=self.log,
            stderr=subprocess.STDOUT, start_new_session=True,
        )  # fmt: skip
        self.signals.child_pid = child.pid
        self.signals.tell_child()
        self.note(trainer_pid=child.pid)
        if self.health:
            keep_awake(child.pid)
        while (code := child.poll()) is None:
            self._look(seen, attempt)
            time.sleep(_POLL_S)
        self.signals.child_pid = None
        self._look(seen, attempt)
        return code

    def _look(self, seen: Follower, attempt: _Attempt) -> None:
        for event in seen.events():
            attempt.see(event)
            if self.health:
                self.health.see(event)
        if self.health:
            self.health.poll()
        self._show()

    def _show(self) -> None:
        for text in self.shown.texts():
            with contextlib.suppress(OSError, ValueError):  # the terminal may be gone; the log is not
                relay(text, self.job.tag, self.screen)

    def _pause(self, seconds: float) -> None:
        until_s = time.monotonic() + seconds
        while time.monotonic() < until_s and self.signals.asked is None:
            time.sleep(_POLL_S)

    def _end(self, code: int, cause: str) -> int:
        """Say how it ended; after a success, verify the adapter, and only then stop the pod."""
        try:
            if code == 0:
                list_adapter(Path(self.job.run), f"{self.job.tag}-COMPLETE")
        except WeathermanError as problem:
            messages.error(problem)
            code, cause = problem.exit_code, problem.message
        self.note(exit_code=code, cause=cause.rstrip("."), trainer_pid=None)
        if code == 0 and self.job.auto_stop_pod:
            _stop_pod(self.job)
        self._show()
        return code


def list_adapter(run_dir: Path, tag: str) -> None:
    """Verify the final adapter and list its files.

    Raises:
        WeathermanError: it is not whole.
    """
    for name, size in pod.verify_adapter(run_dir):
        messages.say(tag, f"{run_dir / pod.ADAPTER / name}: {size:,} bytes")
    messages.success(f"The adapter in {run_dir / pod.ADAPTER} is verified")


def _stop_pod(job: Job) -> None:
    if job.rehearse:
        messages.say(job.tag, "A rehearsal: here the pod would be stopped")
        return
    messages.say(job.tag, "Stopping the pod; what is on its volume stays")
    try:
        pod.stop_pod()
    except WeathermanError as problem:
        messages.error(problem)


def supervise(job: Job, screen: TextIO) -> int:
    """Do a job to its end.

    Args:
        job: what to do.
        screen: where the log's lines are shown as well.

    Returns:
        The exit code: 0 finished; 129, 130 or 143 stopped by a signal; 2 the crash loop; else 1.
    """
    pid = os.getpid()
    record = SessionRecord(job.token, job.how, job.log, job.run, pid, identity(pid))
    # Line by line and appended: the trainer writes into the same file.
    with Path(job.log).open("a", encoding="utf-8") as file, contextlib.redirect_stdout(messages.lasting(file)) as log:
        health = Health(SystemProbe()) if job.platform == "M4" else None
        shown = Follower(Path(job.log), file_size(Path(job.log)))
        session = _Session(job, screen, log, record, shown, health=health)
        session.signals.install()
        session.note()
        try:
            return session.run()
        except Exception as problem:  # the launcher waits for the record
            text = f"the session broke ({type(problem).__name__}: {problem})"
            messages.error(text)
            session.note(exit_code=EXIT_FAILED, cause=text)
            return EXIT_FAILED


def main(place: str) -> None:
    """Take over a job from the launcher and do it."""
    from weatherman.launch.detach import receive

    try:
        job = receive(Path(place))
    except WeathermanError as problem:
        messages.error(problem)
        sys.exit(problem.exit_code)
    os.environ.clear()
    os.environ.update(job.environ)
    sys.exit(supervise(job, sys.stdout))


if __name__ == "__main__":
    main(sys.argv[1])
