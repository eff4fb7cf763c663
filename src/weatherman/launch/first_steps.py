"""Following a run that has just been started: what it says is repeated here, until it is known to go well, or not."""

from __future__ import annotations

import datetime
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from weatherman import messages
from weatherman.checkpoints.resume import announce_resume
from weatherman.errors import EXIT_CRASH_LOOP, EXIT_FAILED, WeathermanError
from weatherman.launch.follow import Follower, last_lines, relay
from weatherman.launch.pod import ADAPTER
from weatherman.launch.session_record import Job, SessionRecord, read_record
from weatherman.launch.still_here import StillHere
from weatherman.launch.watch import Watch, measured_lines
from weatherman.run.spending import read_spending
from weatherman.run.status import read_status
from weatherman.system.process import identity

_POLL_S = 0.2
_STATUS_EVERY_S = 5.0
_PATIENCE_S = 60.0
_LAST_LINES = 8
_WARNING = "⚠️ WARNING: "


@dataclass(slots=True)
class FirstSteps:
    """The launcher's view of a running job.

    Args:
        job: the job.
        watch: judges the steps.
        events: the run's events from this start on.
        log: the job's log.
        stop_command: what a person types to stop the run.
    """

    job: Job
    watch: Watch
    events: Follower
    log: Follower
    stop_command: str
    began_s: float = field(default_factory=time.monotonic)
    _still: StillHere = field(default_factory=lambda: StillHere(time.monotonic()))
    _asked_s: float = 0.0
    _finished: bool = False

    def follow(self) -> int:
        """Follow the run.

        Returns:
            0 once enough steps went well, or the run finished; 2 for the crash loop; 1 for any other trouble; the
            run's own code if a signal stopped it. Only the first leaves a run behind that needs nobody, and a run that
            is judged unwell is left running too: whoever reads the reason decides.
        """
        while True:
            record = self._record()  # first: what it was ended by has been written by then
            self._hear()
            if record is not None and record.exit_code is not None:
                return self._ended(record)
            if record is None or not record.is_alive:
                if record is not None or time.monotonic() - self.began_s > _PATIENCE_S:
                    return self._lost(record)
            elif (problem := self._problem()) is not None:
                return self._unwell(problem)
            elif self.watch.complete and not self._finished:
                return self._well()
            if line := self._still.line(time.monotonic()):
                messages.say(self.job.tag, line)
            time.sleep(_POLL_S)

    def _record(self) -> SessionRecord | None:
        record = read_record(self.job.record_path)
        return record if record is not None and record.token == self.job.token else None

    def _hear(self) -> None:
        for event in self.events.events():
            self.watch.see(event, time.monotonic())
            self._tell(event)
        for text in self.log.texts():
            if text.startswith(_WARNING):
                relay(text, self.job.tag)
                self._still.said(time.monotonic())

    def _tell(self, event: dict[str, Any]) -> None:
        kind, now_s = event["kind"], time.monotonic()
        if kind in ("resume", "phase", "engine") or (kind == "step" and self.watch.num_steps in (1, 10)):
            self._still.said(now_s)
        if kind == "phase":
            self._still.does(str(event.get("message")), now_s)
        elif kind == "step":
            self._still.does(f"training, step {event.get('step')} is done", now_s)
        if kind == "resume" and type(event.get("step")) is int:
            announce_resume(event["step"])
        elif kind == "phase":
            messages.say(self.job.tag, f"Now: {event.get('message')}")
        elif kind == "engine":
            messages.say(self.job.tag, f"The model is loaded on {event.get('device_name')}")
        elif kind == "tracker" and event.get("tracker") != "none":
            where = (
                event.get("url")
                or event.get("command")
                or f"no page for this run; its metrics are in {self.events.path}"
            )
            messages.say(self.job.tag, f"{event.get('tracker')}: {where}")
        elif kind == "step" and self.watch.num_steps in (1, 10):
            messages.say(self.job.tag, f"step {event.get('step')}: loss {self.watch.losses[-1]:.3f}")
        elif kind == "finish":
            self._finished = True

    def _problem(self) -> WeathermanError | None:
        if problem := self.watch.problem(time.monotonic()):
            return problem
        if time.monotonic() - self._asked_s < _STATUS_EVERY_S:
            return None
        self._asked_s = time.monotonic()
        try:
            status = read_status(Path(self.job.run))
        except (WeathermanError, OSError):  # nothing is written yet
            return None
        if status.state != "stalled":
            return None
        return WeathermanError("watch.stalled", f"the run is stalled: {status.reason}.", status.next_action)

    def _ended(self, record: SessionRecord) -> int:
        run, code = Path(self.job.run), record.exit_code or 0
        if code == 0:
            self._measured(0)
            messages.success(f"Training is complete; the adapter in {run / ADAPTER} is verified")
        elif code == EXIT_CRASH_LOOP:
            messages.error(record.cause)
        elif code == EXIT_FAILED:
            self._show_log()
            messages.error(WeathermanError("launch.failed", f"Training failed: {record.cause}.", self._advice()))
        else:
            messages.warning(f"Training was stopped by a signal and saved (exit code {code}). Hint: {self._advice()}")
        return code

    def _advice(self) -> str:
        return f"the whole log is {self.job.log}; the same command goes on from the last checkpoint."

    def _lost(self, record: SessionRecord | None) -> int:
        self._show_log()
        text = "the training session is gone and left no word"
        if record and record.trainer_pid and identity(record.trainer_pid):
            text = f"the training session was killed; the trainer (process {record.trainer_pid}) goes on alone"
        messages.error(WeathermanError("launch.lost", f"Training failed: {text}.", self._advice()))
        return EXIT_FAILED

    def _unwell(self, problem: WeathermanError) -> int:
        self._show_log()
        hint = f"{problem.hint.rstrip('.')}. Training was left running; stop it, saved, with: {self.stop_command}"
        text = f"Training does not go well: {problem.message}"
        messages.error(WeathermanError(problem.code, text, hint))
        return EXIT_FAILED

    def _show_log(self) -> None:
        for text in last_lines(Path(self.job.log), _LAST_LINES):
            messages.say(self.job.tag, f"log: {text}")

    def _well(self) -> int:
        try:
            status = read_status(Path(self.job.run))
            num_left = max(0, (status.total or status.step) - status.step)
        except (WeathermanError, OSError):
            num_left = 0
        self._measured(num_left)
        losses = self.watch.losses
        messages.success(
            f"The first {self.watch.num_steps} steps went well (loss {losses[0]:.3f} to {losses[-1]:.3f}); "
            "training goes on by itself"
        )
        return 0

    def _measured(self, num_left: int) -> None:
        now = datetime.datetime.now().astimezone()
        spending = read_spending(Path(self.job.run), until_s=now.timestamp() if num_left else None)
        for line in measured_lines(self.watch, num_left, spending, now):
            messages.say(self.job.tag, line)
