"""The training loop: plan, resume, train, evaluate, save. Read `train` first; the rest are its steps."""

from __future__ import annotations

import time
from collections.abc import Sequence

from weatherman import messages
from weatherman.config.schema import TrainingConfig
from weatherman.effect.effect import measure_effect, report_effect
from weatherman.effect.final_adapter import ADAPTER, save_final_adapter, write_model_card
from weatherman.effect.model_card import data_facts
from weatherman.effect.tracked import track_effect
from weatherman.engine.base import Engine
from weatherman.engine.choose import open_engine
from weatherman.progress import Pace, ProgressDisplay, format_duration
from weatherman.records import count_conversations, describe_examples
from weatherman.report.page import REPORT_FILE, write_report
from weatherman.run.calibrate import calibrated
from weatherman.run.finished import refuse_another_run
from weatherman.run.run import MEASURING, TRAINING, Run, open_run
from weatherman.run.stop import GivenUpError, StopNow, StopRequest, leave
from weatherman.run.trackers import Wanted
from weatherman.run.tracking import Tracker, closing, start_tracker, usable_tracker
from weatherman.run.training_data import TrainingData, load_training_data
from weatherman.steps.prefix_tree import decide_sharing
from weatherman.steps.sampling import step_plans, steps_per_epoch, total_steps, with_next
from weatherman.steps.schedule import learning_rate

PACE_STEPS = 3


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
    stop = StopRequest()
    stop.install()
    try:
        with open_run(config, overrides, reset_crash_loop=reset_crash_loop) as run:
            return _train(run, stop)
    except StopNow as asked:
        return leave(asked.exit_code)


def _train(run: Run, stop: StopRequest) -> int:
    config = run.config
    if run.finished:
        refuse_another_run(run.output_dir, config)
        if not (run.output_dir / REPORT_FILE).exists():  # the process ended before it was written
            write_report(run.output_dir)
        messages.success(f"This run is finished; its adapter is in {run.output_dir / 'adapter'}")
        return 0
    kind = usable_tracker(config.report_to)
    run.phase("reading the data")
    messages.say(_tag(config), "Reading model and data (the first time takes a minute)")
    data = load_training_data(config)
    config = run.settle_config(data)
    num_steps = total_steps(len(data.train), config.effective_batch_size, config.num_train_epochs, config.max_steps)
    sharing = print_plan(config, data, num_steps)
    engine = start_engine(config, run, data, sharing=sharing)
    with closing(_open_tracker(kind, config, run), stop) as tracker:
        with stop.finishing_the_step(run.note_stopping):
            if _train_steps(config, run, data, engine, num_steps, tracker, stop):
                save_final_adapter(run.output_dir, engine, config, data, run.task, num_steps)
        if stop.exit_code:
            run.record_stop(stop.exit_code, f"Stopped by a signal after step {run.last_step}, and saved")
            return stop.exit_code
        _measure(config, run, data, engine, num_steps, tracker)
        run.record_finished()
    return _tell_result(config, run)


def _tell_result(config: TrainingConfig, run: Run) -> int:
    peak = f"Peak memory {run.peak_memory_bytes / 2**30:.1f} GB, {format_duration(run.elapsed_s)} in all"
    messages.say(f"{_tag(config)}-COMPLETE", peak)
    if report := write_report(run.output_dir):
        messages.say(f"{_tag(config)}-COMPLETE", f"The run's report is {report}")
    messages.success(f"The adapter is in {run.output_dir / ADAPTER}")
    return 0


def _measure(
    config: TrainingConfig, run: Run, data: TrainingData, engine: Engine, num_steps: int, tracker: Tracker
) -> None:
    """Show what training did; the adapter is saved already, and its card gets the figures."""
    run.phase(MEASURING)
    messages.say(_tag(config), "Measuring the model without and with the adapter on held-out conversations")
    before = measure_effect(run.output_dir, engine, config, data, run.task, adapter=False)
    run.record_validation(0, before.validation_loss)
    after = measure_effect(run.output_dir, engine, config, data, run.task, adapter=True)
    run.record_validation(num_steps, after.validation_loss)
    write_model_card(run.output_dir, config, data_facts(config, data), num_steps, before, after)
    track_effect(tracker, num_steps, before, after)
    report_effect(f"{_tag(config)}-COMPLETE", before, after)


def _tag(config: TrainingConfig) -> str:
    return f"TRAINING-{config.platform.upper()}"


def print_plan(config: TrainingConfig, data: TrainingData, num_steps: int) -> bool:
    """Say what is about to happen.

    Returns:
        Whether shared prefixes will be computed once.
    """
    tag, batch_size = _tag(config), config.effective_batch_size
    num_tokens = sum(len(example.ids) for example in data.train)
    num_supervised = sum(example.num_supervised_tokens for example in data.train)
    epochs = num_steps / steps_per_epoch(len(data.train), batch_size)
    share, factor = decide_sharing(data.train, batch_size, config.seed)
    sharing = share if config.sharing == "auto" else config.sharing == "on"
    messages.say(tag, f"Model {config.model_name_or_path}, LoRA r={config.lora_r} alpha={config.lora_alpha}")
    messages.say(
        tag,
        f"Plan: {describe_examples(count_conversations(data.train), len(data.train))}; {num_tokens:,} tokens, "
        f"{num_supervised:,} of them trained on; {num_steps} steps of {batch_size} ({epochs:.1f} epochs), "
        f"{len(data.validation):,} for validation",
    )
    messages.say(
        tag,
        f"A step's prefixes are shared {factor:.2f} times over: "
        f"{'each is computed once' if sharing else 'padded batches are used'} (sharing: {config.sharing})",
    )
    _tell_dropped(config, data)
    return sharing


def _tell_dropped(config: TrainingConfig, data: TrainingData) -> None:
    """Say what is left out for its length: a warning, unless only a subset was wanted anyway."""
    if not data.num_dropped:
        return
    text = f"{data.num_dropped:,} conversations are longer than max_seq_length={config.max_seq_length} tokens"
    if config.max_train_examples is None:
        messages.warning(f"{text} and are left out; none is ever cut.")
    else:
        messages.say(_tag(config), f"The subset is taken from the shorter ones: {text}")


def start_engine(config: TrainingConfig, run: Run, data: TrainingData, *, sharing: bool) -> Engine:
    """Load the model, prove that attention is causal, and restore the checkpoint if there is one."""
    if run.frozen is None:  # a run that goes on keeps what its first attempt found
        run.phase("finding the fastest settings")
        config = calibrated(config, data, _tag(config), sharing=sharing)
    run.phase("loading the model", patience_s=3600)
    engine = open_engine(config, sharing=sharing, stop_token_ids=data.stop_token_ids)
    engine.prove_causality()
    run.adopt_engine(engine, data)
    info = engine.info
    messages.say(
        _tag(config),
        f"{info.device_name}, {info.dtype}: {info.num_parameters / 1e6:,.0f} M frozen parameters, "
        f"{info.num_trainable_parameters / 1e6:.1f} M trained; no future token leaks",
    )
    return engine


def _train_steps(
    config: TrainingConfig,
    run: Run,
    data: TrainingData,
    engine: Engine,
    num_steps: int,
    tracker: Tracker,
    stop: StopRequest,
) -> bool:
    """Run the steps that are left.

    Returns:
        False if a signal asked to stop; what was done is saved.
    """
    tag, first_step = _tag(config), run.resumed_step + 1
    plans = step_plans(
        data.train,
        batch_size=config.effective_batch_size,
        seed=config.seed,
        first_step=first_step,
        last_step=num_steps,
    )
    pace, unsaved = Pace(first_step, num_steps), None
    per_epoch = steps_per_epoch(len(data.train), config.effective_batch_size)
    run.phase(TRAINING)
    with ProgressDisplay(tag, num_steps, first_step, config.logging_steps) as show:
        for plan, upcoming in with_next(plans):
            if stop.exit_code:
                break
            began_s = time.monotonic()
            rate = _rate(config, plan.step, num_steps)
            if upcoming:
                engine.prepare(upcoming)
            result = engine.step(plan, rate)
            unsaved = plan
            pace.add(result.num_effective_tokens, time.monotonic() - began_s)
            epoch, peak_bytes = plan.step / per_epoch, engine.peak_memory_bytes()
            tracker.log(plan.step, run.record_step(plan, epoch, result, rate, pace, num_steps, peak_bytes))
            show.step(plan.step, result.loss, pace)
            if pace.num_steps == PACE_STEPS:
                messages.say(
                    tag, f"Measured {pace.tokens_per_s:.0f} tokens/s: about {format_duration(pace.eta_s)} left"
                )
            if config.eval_steps and plan.step % config.eval_steps == 0 and plan.step < num_steps:
                _validate(config, run, data, engine, tracker, plan.step, stop)
            if plan.step % config.save_steps == 0 or plan.step == num_steps:
                run.save(engine, plan)
                unsaved = None
    if unsaved:
        run.save(engine, unsaved)
    return not stop.exit_code


def _rate(config: TrainingConfig, step: int, num_steps: int) -> float:
    return learning_rate(
        step,
        num_steps=num_steps,
        base=config.learning_rate,
        warmup_ratio=config.warmup_ratio,
        kind=config.lr_scheduler_type,
    )


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
        messages.say(_tag(config), f"Look at this run beside the others: {tracker.command}")
    return tracker


def _validate(
    config: TrainingConfig,
    run: Run,
    data: TrainingData,
    engine: Engine,
    tracker: Tracker,
    step: int,
    stop: StopRequest,
) -> None:
    try:
        loss = engine.evaluate(data.validation, stop.give_up_if_asked).loss
    except GivenUpError:
        messages.warning(f"The validation of step {step} is left out.")
        return
    run.record_validation(step, loss)
    tracker.log(step, {"validation/loss": loss})
    messages.say(_tag(config), f"step {step} · validation loss {loss:.4f}")
