"""Calibration of a run: when it is worth its time, on which step, and what is said about it."""

from __future__ import annotations

from weatherman import messages
from weatherman.config.schema import TrainingConfig
from weatherman.engine.calibration import Calibration, table
from weatherman.engine.choose import choose_engine
from weatherman.engine.tuning import apply, calibrate, warnings_of
from weatherman.records import StepPlan
from weatherman.run.training_data import TrainingData
from weatherman.steps.sampling import step_plans, total_steps

_SAMPLED_STEPS = 8


def calibrated(config: TrainingConfig, data: TrainingData, tag: str, *, sharing: bool) -> TrainingConfig:
    """The configuration with the settings that are fastest on this CUDA device.

    Args:
        config: the run's.
        data: what it trains on.
        tag: of the lines.
        sharing: whether prefixes are computed once; padded batches have nothing to vary.

    Returns:
        The configuration as it is on other devices, with `calibration: off`, or where nothing is left open.
    """
    if not sharing or not _is_open(config) or choose_engine(config) != "torch":
        return config
    from weatherman.engine.torch.device import choose_device

    if choose_device(config.device).type != "cuda":
        return config
    found = run_calibration(config, data, tag)
    report(found, tag)
    if found.best is None:
        messages.warning(
            "Calibration timed no setting that works; the rules by memory are used. See `weatherman tune`."
        )
        return _without_failed(config, found)
    return apply(config, found.best)


def run_calibration(config: TrainingConfig, data: TrainingData, tag: str, *, fresh: bool = False) -> Calibration:
    """Try and time what the configuration leaves open, on the largest of the run's first steps."""
    from weatherman.engine.torch.bench import find_bench

    return calibrate(
        config, _largest_step(config, data), find_bench(config), lambda text: messages.say(tag, text), fresh=fresh
    )


def report(found: Calibration, tag: str) -> None:
    """Warn of each kernel that is passed over, and print the table."""
    for text in warnings_of(found.trials):
        messages.warning(text)
    for line in table(found):
        messages.say(tag, line)


def _is_open(config: TrainingConfig) -> bool:
    left_open = (
        config.attn_implementation == "auto",
        config.gradient_checkpointing == "auto",
        config.max_tokens_per_chunk is None,
    )
    return config.calibration == "auto" and any(left_open)


def _without_failed(config: TrainingConfig, found: Calibration) -> TrainingConfig:
    """Nothing was timed: take a kernel that agreed, if the choice is free."""
    working = [one.kernel for one in found.trials if not one.problem]
    if config.attn_implementation != "auto" or not working:
        return config
    return config.model_copy(update={"attn_implementation": working[0]})


def _largest_step(config: TrainingConfig, data: TrainingData) -> StepPlan:
    num_steps = total_steps(len(data.train), config.effective_batch_size, config.num_train_epochs, config.max_steps)
    plans = step_plans(
        data.train,
        batch_size=config.effective_batch_size,
        seed=config.seed,
        first_step=1,
        last_step=min(_SAMPLED_STEPS, num_steps),
    )
    return max(plans, key=lambda plan: plan.num_effective_tokens)
