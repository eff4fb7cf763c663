"""The training loop: plan, resume, train, evaluate, save. Read `train` first; the rest are its steps."""

from __future__ import annotations

import signal
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from types import FrameType

from weatherman import messages
from weatherman.checkpoint import save_checkpoint
from weatherman.config import TrainingConfig
from weatherman.effect import Effect, measure_effect, report_effect
from weatherman.engine.base import Engine
from weatherman.progress import Pace, ProgressDisplay, format_duration
from weatherman.records import StepPlan, StepResult
from weatherman.run import Run, open_run
from weatherman.sampling import step_plans, total_steps
from weatherman.schedule import learning_rate
from weatherman.tracking import start_tracker
from weatherman.training_data import TrainingData, load_training_data

PACE_STEPS = 3
EXIT_SIGINT, EXIT_SIGTERM = 130, 143
_CHECKPOINT_MARGIN_BYTES = 64 * 2**20


@dataclass(slots=True)
class StopRequest:
    """Set by SIGTERM and SIGINT; the loop saves after the step at hand and leaves with `exit_code`."""

    exit_code: int = 0

    def install(self) -> None:
        """Take over the two signals; a second SIGINT stops at once."""
        signal.signal(signal.SIGTERM, self._ask)
        signal.signal(signal.SIGINT, self._ask)

    def _ask(self, number: int, frame: FrameType | None) -> None:
        if number == signal.SIGINT and self.exit_code:
            raise KeyboardInterrupt
        self.exit_code = EXIT_SIGINT if number == signal.SIGINT else EXIT_SIGTERM


def train(config: TrainingConfig, *, overrides: Sequence[str] = (), reset_crash_loop: bool = False) -> int:
    """Run, or go on with, the training that `config` describes.

    Args:
        config: the checked configuration.
        overrides: the `--set` values it was made with, recorded in `run.json`.
        reset_crash_loop: forget earlier crashes at the same step.

    Returns:
        The process's exit code: 0 finished, 130 or 143 saved and stopped by a signal.

    Raises:
        WeathermanError: anything that the user must mend; exit code 2 is the crash loop.
    """
    stop = StopRequest()
    stop.install()
    with open_run(config, overrides, reset_crash_loop=reset_crash_loop) as run:
        if run.finished:
            messages.success(f"this run is finished: {run.output_dir / 'adapter'} holds its adapter.")
            return 0
        data = load_training_data(config, run)
        num_steps = total_steps(len(data.train), config.effective_batch_size, config.num_train_epochs, config.max_steps)
        print_plan(config, data, num_steps)
        engine = run.start_engine(config, data)
        before = measure_effect(run, engine, config, data, adapter=False)
        if not _train_steps(config, run, data, engine, num_steps, stop):
            run.record_stop(stop.exit_code)
            return stop.exit_code
        after = measure_effect(run, engine, config, data, adapter=True)
        adapter = run.save_final_adapter(engine, data)
        _finish(config, run, adapter, before, after)
    return 0


def print_plan(config: TrainingConfig, data: TrainingData, num_steps: int) -> None:
    """Say what is about to happen."""
    tag = f"TRAINING-{config.platform.upper()}"
    num_tokens = sum(len(example.ids) for example in data.train)
    num_supervised = sum(example.num_supervised_tokens for example in data.train)
    epochs = num_steps * config.effective_batch_size / max(1, len(data.train))
    messages.say(tag, f"Model {config.model_name_or_path}, LoRA r={config.lora_r} alpha={config.lora_alpha}")
    messages.say(
        tag,
        f"Plan: {len(data.train):,} examples ({num_tokens:,} tokens, {num_supervised:,} trained on), "
        f"{num_steps} steps of {config.effective_batch_size} ({epochs:.1f} epochs), {len(data.validation)} for validation",
    )
    if data.num_dropped:
        messages.warning(
            f"{data.num_dropped} conversations are longer than max_seq_length={config.max_seq_length} and are left out; "
            "none is ever cut."
        )


def _train_steps(
    config: TrainingConfig, run: Run, data: TrainingData, engine: Engine, num_steps: int, stop: StopRequest
) -> bool:
    """Run the steps that are left; false if a signal asked to stop (the work is saved)."""
    tag = f"TRAINING-{config.platform.upper()}"
    first_step = run.resumed_step + 1
    plans = step_plans(
        data.train,
        batch_size=config.effective_batch_size,
        seed=config.seed,
        first_step=first_step,
        last_step=num_steps,
    )
    pace = Pace(first_step, num_steps)
    tracker = start_tracker(
        config.report_to,
        project=config.project_name,
        run_name=config.run_name,
        run_id=run.run_id,
        folder=run.output_dir,
        config=run.resolved_config,
    )
    run.tracker_started(tracker.url)
    with ProgressDisplay(tag, num_steps, first_step, config.logging_steps) as show:
        for plan in plans:
            began_s = time.monotonic()
            rate = learning_rate(
                plan.step,
                num_steps=num_steps,
                base=config.learning_rate,
                warmup_ratio=config.warmup_ratio,
                kind=config.lr_scheduler_type,
            )
            result = engine.step(plan, rate)
            pace.add(result.num_effective_tokens, time.monotonic() - began_s)
            metrics = run.record_step(plan, result, rate, pace, num_steps)
            tracker.log(plan.step, metrics)
            show.step(plan.step, result.loss, pace)
            if pace.num_steps == PACE_STEPS:
                messages.say(tag, f"Measured {pace.tokens_per_s:.0f} tokens/s: about {format_duration(pace.eta_s)} left")
            if config.eval_steps and plan.step % config.eval_steps == 0 and plan.step < num_steps:
                validation = engine.evaluate(data.validation)
                run.record_validation(plan.step, validation.loss)
                tracker.log(plan.step, {"validation/loss": validation.loss})
                messages.say(tag, f"step {plan.step}/{num_steps} · validation loss {validation.loss:.4f}")
            if plan.step % config.save_steps == 0 or plan.step == num_steps or stop.exit_code:
                _save(config, run, engine, plan, result)
            if stop.exit_code:
                tracker.finish(stop.exit_code)
                messages.warning(f"Stopped by a signal after step {plan.step}; saved. The same command goes on from there.")
                return False
    tracker.finish(0)
    return True


def _save(config: TrainingConfig, run: Run, engine: Engine, plan: StepPlan, result: StepResult) -> None:
    def write_files(folder: Path) -> None:
        engine.save_adapter(folder)
        engine.save_optimizer(folder)
        run.write_state(folder, plan, result)

    save_checkpoint(
        run.output_dir,
        plan.step,
        run.run_id,
        write_files,
        keep=config.save_total_limit,
        margin_bytes=_CHECKPOINT_MARGIN_BYTES,
    )
    run.record_checkpoint(plan.step)


def _finish(config: TrainingConfig, run: Run, adapter: Path, before: Effect, after: Effect) -> None:
    tag = f"TRAINING-{config.platform.upper()}-COMPLETE"
    report_effect(tag, before, after)
    run.record_finished()
    messages.say(tag, f"Peak memory {run.peak_memory_bytes / 2**30:.1f} GB, {format_duration(run.elapsed_s)} in all")
    messages.success(f"The adapter is in {adapter}")
