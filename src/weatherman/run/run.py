"""A run and its folder: opened with a lock and a verdict, continued from its newest good checkpoint, recorded."""

from __future__ import annotations

import os
import sys
import time
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from weatherman import messages
from weatherman.checkpoints import resume
from weatherman.checkpoints.checkpoint import Checkpoint, clean_staging, newest_verified, save_checkpoint
from weatherman.checkpoints.state import read_frozen, restore, write_state
from weatherman.config.schema import TrainingConfig
from weatherman.engine.base import Engine
from weatherman.errors import EXIT_CRASH_LOOP, EXIT_FAILED, WeathermanError
from weatherman.progress import Pace
from weatherman.records import StepPlan, StepResult
from weatherman.run.events import EventLog, StatusFile
from weatherman.run.folder import RUN_FILE
from weatherman.run.kept_task import keep_task, task_hash
from weatherman.run.provenance import (
    MAX_BYTES,
    apply_frozen,
    frozen_facts,
    provenance,
    recorded_horizon,
    refuse_changes,
    warn_of_differences,
)
from weatherman.run.spending import read_spending
from weatherman.run.training_data import TrainingData
from weatherman.run.webhook import notify
from weatherman.steps.horizon import Horizon
from weatherman.system.atomic import read_json_object, write_json
from weatherman.system.own_command import own_command
from weatherman.system.quarantine import set_aside_unless_file
from weatherman.task.task import Task

TRAINING, MEASURING = "training", "measuring the effect"  # phases that a stop in their midst is told apart by
_MARGIN_BYTES = 64 * 2**20
_MIN_PATIENCE_S = 600.0
_STEPS_OF_PATIENCE = 20


@dataclass
class Run:
    """One attempt at a run."""

    config: TrainingConfig
    overrides: list[str]
    output_dir: Path
    state: resume.ResumeState = field(init=False)
    events: EventLog = field(init=False)
    status: StatusFile = field(init=False)
    checkpoint: Checkpoint | None = None
    frozen: dict[str, Any] | None = None
    task: Task = field(default_factory=Task)
    peak_memory_bytes: int = 0
    _started_s: float = field(default_factory=time.monotonic)
    _earlier_s: float = 0.0
    _begun: bool = False
    _phase: str = ""
    _doing: str = TRAINING

    def begin(self, reset_crash_loop: bool) -> None:
        """Count this attempt and find the checkpoint to go on from.

        Raises:
            WeathermanError: the crash loop; or checkpoints exist and none verifies.
        """
        known = _attempts_so_far(self.output_dir)
        self.events = EventLog(self.output_dir, known + 1)
        self.status = StatusFile(self.output_dir, known + 1, _command())
        self._begun = True
        self.state = resume.begin_attempt(self.output_dir, reset_crash_loop)
        if self.state.finished:
            self._begun = False
            return
        self._earlier_s = read_spending(self.output_dir).busy_s
        self.status.write(state="starting", step=self.state.last_step, message="starting", exit_code=None)
        rate = self.config.hourly_rate
        self.events.emit("start", step=self.state.last_step, pid=os.getpid(), run_id=self.run_id, hourly_rate=rate)
        self.checkpoint, moved = newest_verified(self.output_dir, self.run_id, expected=self.state.last_checkpoint)
        for one in moved:
            self.events.emit("quarantine", name=one.name, reason=one.reason)
        if self.checkpoint:
            resume.announce_resume(self.checkpoint.step)
            self.events.emit("resume", step=self.checkpoint.step)
            self.frozen = read_frozen(self.checkpoint.path)
        notify(self.output_dir, "resume" if self.checkpoint else "start")

    @property
    def finished(self) -> bool:
        """Whether the run was complete before this attempt."""
        return self.state.finished

    @property
    def run_id(self) -> str:
        """The run's name for ever, the same in every attempt."""
        return self.state.run_id

    @property
    def resumed_step(self) -> int:
        """The step that this attempt goes on after; 0 for a start from nothing."""
        return self.checkpoint.step if self.checkpoint else 0

    @property
    def last_step(self) -> int:
        """The highest optimizer step ever completed."""
        return self.state.last_step

    @property
    def elapsed_s(self) -> float:
        """Seconds of this attempt."""
        return time.monotonic() - self._started_s

    @property
    def spent_s(self) -> float:
        """Seconds of all attempts so far."""
        return self._earlier_s + self.elapsed_s

    def settled_horizon(self, configured: int) -> Horizon:
        """The run's steps: as an earlier attempt settled them within its budget, else as configured."""
        known = (self.frozen or {}).get("horizon")
        return Horizon(configured, **known) if known else Horizon(configured)

    def record_horizon(self, horizon: Horizon, words: str) -> None:
        """Persist how many steps the run has from now on; a killed run keeps to it."""
        assert self.frozen is not None
        self.frozen = {**self.frozen, "horizon": {"settled_at": horizon.settled_at, "settled": horizon.settled}}
        path = self.output_dir / RUN_FILE
        write_json(path, {**read_json_object(path, MAX_BYTES), "frozen": self.frozen})
        self.status.write(total=horizon.last_step, budget=words)
        self.events.emit("budget", step=horizon.settled_at, total=horizon.last_step, words=words)

    def settle_config(self, data: TrainingData) -> TrainingConfig:
        """The configuration in force: of a run that goes on, with what its first attempt decided by itself.

        Raises:
            WeathermanError: settings, data or template are not those the run began with.
        """
        if self.frozen:
            refuse_changes(self.frozen, self.config, data.identity, self.output_dir)
            self.config = apply_frozen(self.config, self.frozen)
        self.task = keep_task(self.output_dir, self.config, data, self.frozen)
        return self.config

    def adopt_engine(self, engine: Engine, data: TrainingData) -> None:
        """Record what the run is made of, and give the engine the checkpoint's weights.

        Raises:
            WeathermanError: the checkpoint does not fit the model.
        """
        path = self.output_dir / RUN_FILE
        set_aside_unless_file(self.output_dir, path)
        if self.frozen and self.checkpoint:
            warn_of_differences(self.frozen, engine.info)
            restore(engine, self.checkpoint.path)
        else:
            self.frozen = frozen_facts(self.config, data, engine.info)
        self.frozen["task"] = task_hash(self.task)
        if "horizon" not in self.frozen and (horizon := recorded_horizon(path, self.run_id, self.frozen)):
            self.frozen = {**self.frozen, "horizon": horizon}  # it was killed before the next checkpoint
        if self.resumed_step == 0 or not path.is_file():
            record = provenance(self.config, self.overrides, self.run_id, engine.info)
            write_json(path, {**record, "frozen": self.frozen})
        self.events.emit("engine", **asdict(engine.info))

    def phase(self, message: str, *, patience_s: float = _MIN_PATIENCE_S) -> None:
        """Say what is being done now, and how long it may be silent before it counts as stalled."""
        self._phase = message
        self.status.write(state="running", message=message, patience_s=patience_s)
        self.events.emit("phase", message=message)

    def tracker_started(self, kind: str, url: str | None, command: str | None) -> None:
        """Record where the tracker shows this run."""
        self.events.emit("tracker", tracker=kind, url=url, command=command)

    def record_step(
        self,
        plan: StepPlan,
        epoch: float,
        result: StepResult,
        rate: float,
        pace: Pace,
        num_steps: int,
        peak_memory_bytes: int,
    ) -> dict[str, float]:
        """Persist a completed step: progress first, then the record and the heartbeat; `epoch` counts epochs done.

        Returns:
            The step's metrics, named for trackers.
        """
        resume.record_step(self.output_dir, self.state, plan.step)
        self.peak_memory_bytes = max(self.peak_memory_bytes, peak_memory_bytes)
        self.events.emit(
            "step", step=plan.step, epoch=round(epoch, 6), learning_rate=rate, **asdict(result),
            tokens_per_s=round(pace.last_tokens_per_s, 2), peak_memory_bytes=self.peak_memory_bytes,
        )  # fmt: skip
        self.status.write(
            state="running", step=plan.step, total=num_steps, loss=result.loss, tokens_per_s=pace.tokens_per_s,
            eta_s=pace.eta_s, message=self._doing,
            patience_s=max(_MIN_PATIENCE_S, _STEPS_OF_PATIENCE * pace.mean_step_s),
        )  # fmt: skip
        return {
            "train/loss": result.loss,
            "train/grad_norm": result.grad_norm,
            "train/learning_rate": rate,
            "train/tokens_per_s": pace.last_tokens_per_s,
            "train/epoch": epoch,
        }

    def record_validation(self, step: int, loss: float) -> None:
        """Record a validation loss."""
        self.events.emit("validation", step=step, loss=loss)

    def save(self, engine: Engine, plan: StepPlan) -> None:
        """Write a verified checkpoint of this step.

        Raises:
            WeathermanError: there is no room for it, or it cannot be written.
        """

        def write_files(folder: Path) -> None:
            engine.save_adapter(folder)
            engine.save_optimizer(folder)
            write_state(folder, plan, self.config.seed, self.frozen)

        began_s = time.monotonic()
        keep = self.config.save_total_limit
        path = save_checkpoint(
            self.output_dir, plan.step, self.run_id, write_files, keep=keep, margin_bytes=_MARGIN_BYTES
        )
        resume.record_checkpoint(self.output_dir, self.state, path)
        self.status.write(last_checkpoint=path.name)
        self.events.emit("checkpoint", step=plan.step, name=path.name, seconds=round(time.monotonic() - began_s, 3))

    def note_stopping(self, signal_name: str) -> None:
        """Say at once, on the screen and in `status.json`, that a signal was heard; called from a thread."""
        self._doing = f"{signal_name}: stopping after this step"
        self.status.write(message=self._doing)
        messages.warning(f"{self._doing}; a second signal leaves at once, without saving.")

    def words_for_leaving(self) -> str:
        """What a stop in the midst of this phase leaves."""
        adapter = self.output_dir / resume.FINAL_ADAPTER.parent
        return {
            TRAINING: "Stopped at once, without saving",
            MEASURING: f"Stopped while measuring the effect; the adapter in {adapter} is whole",
        }.get(self._phase, "Stopped before the first step")

    def record_stop(self, exit_code: int, words: str) -> None:
        """The run stops because a signal asked it to; the next start does not count as one after a crash."""
        if not self._begun or self.state.finished:
            return
        resume.record_clean_stop(self.output_dir, self.state)
        self.status.write(state="stopped", exit_code=exit_code, message="stopped by a signal", eta_s=None)
        self.events.emit("stop", step=self.state.last_step, exit_code=exit_code)
        notify(self.output_dir, "end")
        messages.warning(f"{words}; the same command goes on.")

    def record_finished(self) -> None:
        """The run is complete; what deletions that failed left over is tried once more."""
        clean_staging(self.output_dir)
        resume.record_finished(self.output_dir, self.state)
        self.status.write(state="finished", exit_code=0, message="finished", eta_s=None)
        self.events.emit("finish", step=self.state.last_step, seconds=round(self.elapsed_s, 1))
        notify(self.output_dir, "end")

    def record_failure(self, problem: BaseException) -> None:
        """The attempt ends with an exception; called for each, also the crash loop's."""
        if not self._begun:
            return
        code = problem.code if isinstance(problem, WeathermanError) else type(problem).__name__
        exit_code = problem.exit_code if isinstance(problem, WeathermanError) else EXIT_FAILED
        crash_loop = exit_code == EXIT_CRASH_LOOP
        text = str(problem) or type(problem).__name__
        if hasattr(self, "state") and not crash_loop:
            resume.record_failure(self.output_dir, self.state, text)
        self.status.write(state="crash-loop" if crash_loop else "failed", exit_code=exit_code, message=text, eta_s=None)
        self.events.emit("crash-loop" if crash_loop else "failure", code=code, exit_code=exit_code, message=text)
        notify(self.output_dir, "failure")


def _attempts_so_far(output_dir: Path) -> int:
    try:
        known = resume.read_resume(output_dir)
    except WeathermanError:
        return 0
    return known.attempt if known else 0


def _command() -> str:
    """The command that starts, and goes on with, this run; the launcher may know a better one."""
    return os.environ.get("WEATHERMAN_COMMAND") or own_command(*sys.argv[1:])
