"""The training loop: plan, resume, train, evaluate, save. Read `train` first; the rest are its steps."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from weatherman import messages
from weatherman.config.schema import TrainingConfig
from weatherman.effect.effect import Effect, measure_effect, report_effect
from weatherman.effect.final_adapter import ADAPTER, save_final_adapter, write_model_card
from weatherman.effect.model_card import data_facts
from weatherman.effect.tracked import track_effect
from weatherman.effect.warning_signs import warning_signs
from weatherman.engine.base import Engine
from weatherman.engine.choose import open_engine
from weatherman.errors import WeathermanError
from weatherman.progress import Pace, ProgressDisplay, format_duration
from weatherman.records import StepPlan
from weatherman.report.page import REPORT_FILE, write_report
from weatherman.run.announcement import line_tag, print_plan
from weatherman.run.calibrate import calibrated
from weatherman.run.finished import refuse_another_run
from weatherman.run.opening import open_run
from weatherman.run.run import MEASURING, TRAINING, Run
from weatherman.run.shortening import Shortening
from weatherman.run.stop import GivenUpError, StopNow, StopRequest, leave
from weatherman.run.trackers import Wanted
from weatherman.run.tracking import Tracker, closing, start_tracker, usable_tracker
from weatherman.run.training_data import TrainingData, load_training_data, require_files
from weatherman.steps.sampling import num_conversations, step_plans, steps_per_epoch, total_steps, with_next
from weatherman.steps.schedule import learning_rate
from weatherman.system.disk_errors import as_disk_error

PACE_STEPS = 3


@dataclass(frozen=True, slots=True)
class Training:
    """What the loop works with: the run and its data, the model, where metrics go, who may stop it, and its end."""

    run: Run
    data: TrainingData
    engine: Engine
    tracker: Tracker
    stop: StopRequest
    shortening: Shortening
    steps_per_epoch: int

    @property
    def config(self) -> TrainingConfig:
        """The configuration in force."""
        return self.run.config

    @property
    def tag(self) -> str:
        """The tag of the run's lines."""
        return line_tag(self.run.config)

    @property
    def last_step(self) -> int:
        """The run's last step, as far as is known now."""
        return self.shortening.horizon.last_step


def train(config: TrainingConfig, *, overrides: Sequence[str] = (), reset_crash_loop: bool = False) -> int:
    """Run, or go on with, the training that `config` describes.

    Args:
        config: the checked configuration.
        overrides: the `--set` values it was made with, recorded in `run.json`.
        reset_crash_loop: forget earlier crashes at the same step.

    Returns:
        The process's exit code: 0 finished; 129, 130 or 143: saved and stopped by a signal.

    Raises:
        WeathermanError: anything that the user must mend; exit code 2 is the crash loop.
    """
    if not Path(config.output_dir).exists():  # what cannot begin leaves no folder
        require_files(config)
    stop = StopRequest()
    stop.install()
    try:
        with open_run(config, overrides, reset_crash_loop=reset_crash_loop) as run:
            return _tell_finished(run) if run.finished else _train(run, stop)
    except StopNow as asked:
        return leave(asked.exit_code)


def _tell_finished(run: Run) -> int:
    refuse_another_run(run.output_dir, run.config)
    if not (run.output_dir / REPORT_FILE).exists():  # the process ended before it was written
        write_report(run.output_dir)
    messages.success(f"This run is finished; its adapter is in {run.output_dir / ADAPTER}")
    return 0


def _train(run: Run, stop: StopRequest) -> int:
    kind = usable_tracker(run.config.report_to)
    run.phase("reading the data")
    messages.say(line_tag(run.config), "Reading model and data (the first time takes a minute)")
    data = load_training_data(run.config)
    config = run.settle_config(data)
    num_rows = num_conversations(data.train)
    num_steps = total_steps(num_rows, config.effective_batch_size, config.num_train_epochs, config.max_steps)
    sharing = print_plan(config, data, num_steps)
    engine = start_engine(config, run, data, sharing=sharing)
    with closing(_open_tracker(kind, config, run), stop) as tracker:
        shortening = Shortening(run, data, line_tag(config), num_steps)
        in_epoch = steps_per_epoch(num_rows, config.effective_batch_size)
        work = Training(run, data, engine, tracker, stop, shortening, in_epoch)
        _measure_for_the_budget(work)
        with stop.finishing_the_step(run.note_stopping):
            if _train_steps(work):
                save_final_adapter(run.output_dir, engine, config, data, run.task, work.last_step)
        if stop.exit_code:
            run.record_stop(stop.exit_code, f"Stopped by a signal after step {run.last_step}, and saved")
            return stop.exit_code
        _measure_if_possible(work)
        run.record_finished()
    return _tell_result(config, run)


def start_engine(config: TrainingConfig, run: Run, data: TrainingData, *, sharing: bool) -> Engine:
    """Load the model, prove that attention is causal, and restore the checkpoint if there is one."""
    if run.frozen is None:  # a run that goes on keeps what its first attempt found
        run.phase("finding the fastest settings")
        config = calibrated(config, data, line_tag(config), sharing=sharing)
    run.phase("loading the model", patience_s=3600)
    engine = open_engine(config, sharing=sharing, stop_token_ids=data.stop_token_ids)
    engine.prove_causality()
    run.adopt_engine(engine, data)
    info = engine.info
    messages.say(
        line_tag(config),
        f"{info.device_name}, {info.dtype}: {info.num_parameters / 1e6:,.0f} M frozen parameters, "
        f"{info.num_trainable_parameters / 1e6:.1f} M trained; no future token leaks",
    )
    return engine


def _open_tracker(kind: str, config: TrainingConfig, run: Run) -> Tracker:
    wanted = Wanted(
        project=config.project_name,
        run_name=config.run_name,
        run_id=run.run_id,
        folder=run.output_dir,
        config=config.model_dump(mode="json"),
        first_step=run.resumed_step + 1,
    )
    tracker = start_tracker(kind, wanted)
    run.tracker_started(kind, tracker.url, tracker.command)
    if tracker.command:
        messages.say(line_tag(config), f"Look at this run beside the others: {tracker.command}")
    return tracker


def _train_steps(work: Training) -> bool:
    """Run the steps that are left.

    Returns:
        False if a signal asked to stop; what was done is saved.
    """
    config, run, first_step = work.config, work.run, work.run.resumed_step + 1
    plans = step_plans(
        work.data.train,
        batch_size=config.effective_batch_size,
        seed=config.seed,
        first_step=first_step,
        last_step=work.last_step,
    )
    pace, unsaved = Pace(first_step, work.last_step), None
    run.phase(TRAINING)
    with ProgressDisplay(work.tag, work.last_step, first_step, config.logging_steps) as show:
        for plan, upcoming in with_next(plans):
            if work.stop.exit_code or plan.step > work.last_step:
                break
            saved = _one_step(work, plan, upcoming, pace, show)
            if config.eval_steps and plan.step % config.eval_steps == 0 and plan.step < work.last_step:
                _validate(work, plan.step)
            if not saved and (plan.step % config.save_steps == 0 or plan.step == work.last_step):
                run.save(work.engine, plan)
                saved = True
            unsaved = None if saved else plan
    if unsaved:
        run.save(work.engine, unsaved)
    return not work.stop.exit_code


def _one_step(work: Training, plan: StepPlan, upcoming: StepPlan | None, pace: Pace, show: ProgressDisplay) -> bool:
    """Do a step and tell of it.

    Returns:
        Whether its checkpoint was written on this occasion.
    """
    config, run, began_s = work.config, work.run, time.monotonic()
    rate = learning_rate(
        plan.step,
        num_steps=work.shortening.horizon.num_steps_at(plan.step),
        base=config.learning_rate,
        warmup_ratio=config.warmup_ratio,
        kind=config.lr_scheduler_type,
    )
    if upcoming:
        work.engine.prepare(upcoming)
    result = work.engine.step(plan, rate)
    step_s = time.monotonic() - began_s
    pace.add(result.num_effective_tokens, step_s)
    epoch = plan.step / work.steps_per_epoch
    peak_bytes = work.engine.peak_memory_bytes()
    metrics = run.record_step(plan, epoch, result, rate, pace, work.last_step, peak_bytes)
    work.tracker.log(plan.step, metrics)
    saved = work.shortening.after_step(plan, step_s, partial(run.save, work.engine))
    pace.end_at(work.last_step)
    show.end_at(work.last_step)
    show.step(plan.step, result.loss, pace)
    if pace.num_steps == PACE_STEPS:
        text = f"Measured {pace.tokens_per_s:.0f} tokens/s: about {format_duration(pace.eta_s)} left"
        messages.say(work.tag, text)
    return saved


def _validate(work: Training, step: int) -> None:
    if not work.data.validation:
        return
    began_s = time.monotonic()
    try:
        loss = work.engine.evaluate(work.data.validation, work.stop.give_up_if_asked).loss
    except GivenUpError:
        messages.warning(f"The validation of step {step} is left out.")
        return
    work.shortening.validated(time.monotonic() - began_s)
    work.run.record_validation(step, loss)
    work.tracker.log(step, {"validation/loss": loss})
    messages.say(work.tag, f"step {step} · validation loss {loss:.4f}")


def _measure_for_the_budget(work: Training) -> None:
    """Measure the base model before the first step where the run's end is to be reckoned with what that takes."""
    if work.shortening.is_open and work.data.validation:
        began_s = time.monotonic()
        work.run.phase("measuring the base model")
        _measure_one(work, 0, adapter=False)
        work.shortening.measured_before(time.monotonic() - began_s)


def _measure_if_possible(work: Training) -> None:
    """Measure; a failure costs one warning and the figures, never the run, whose adapter is saved."""
    if not work.data.validation:
        messages.say(work.tag, "No conversation is held out: what training did is not measured")
        return
    try:
        _measure(work)
    except Exception as problem:
        if as_disk_error(problem, work.run.output_dir):  # a full disk is the run's own trouble, not the measurement's
            raise
        kind = "" if isinstance(problem, WeathermanError) else f"{type(problem).__name__}: "
        messages.warning(f"The effect could not be measured ({kind}{problem}); the adapter is saved.")


def _measure(work: Training) -> None:
    """Show what training did; the adapter is saved already, and its card gets the figures."""
    work.run.phase(MEASURING)
    before = _measure_one(work, 0, adapter=False)
    after = _measure_one(work, work.last_step, adapter=True)
    facts = data_facts(work.config, work.data, work.run.task)
    write_model_card(work.run.output_dir, work.config, facts, work.last_step, before, after)
    track_effect(work.tracker, work.last_step, before, after)
    report_effect(f"{work.tag}-COMPLETE", before, after)
    for sign in warning_signs(before, after):
        messages.warning(f"Little was learned: {sign}")


def _measure_one(work: Training, step: int, *, adapter: bool) -> Effect:
    words = "with the adapter" if adapter else "without the adapter"
    messages.say(work.tag, f"Measuring the model {words} on held-out conversations")
    run = work.run
    effect = measure_effect(run.output_dir, work.engine, run.config, work.data, run.task, adapter=adapter)
    run.record_validation(step, effect.validation_loss)
    return effect


def _tell_result(config: TrainingConfig, run: Run) -> int:
    peak = f"Peak memory {run.peak_memory_bytes / 2**30:.1f} GB, {format_duration(run.elapsed_s)} in all"
    messages.say(f"{line_tag(config)}-COMPLETE", peak)
    if report := write_report(run.output_dir):
        messages.say(f"{line_tag(config)}-COMPLETE", f"The run's report is {report}")
    messages.success(f"The adapter is in {run.output_dir / ADAPTER}")
    return 0
