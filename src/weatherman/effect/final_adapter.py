"""`adapter/`: the trained adapter and all that is needed to use it rightly, written whole or not at all."""

from __future__ import annotations

import os
import shutil
import time
from pathlib import Path

from weatherman.config.schema import TrainingConfig
from weatherman.effect.effect import Effect
from weatherman.effect.model_card import DataFacts, data_facts, model_card
from weatherman.engine.base import Engine
from weatherman.models.adapter import save_tokenizer
from weatherman.models.base_model import model_folder
from weatherman.run.spending import read_spending
from weatherman.run.training_data import TrainingData
from weatherman.system.atomic import fsync_file, fsync_folder, write_atomic
from weatherman.task.task import TASK_FILE, Task, task_bytes

ADAPTER = "adapter"
CARD = "README.md"


def save_final_adapter(
    output_dir: Path,
    engine: Engine,
    config: TrainingConfig,
    data: TrainingData,
    task: Task,
    step: int,
) -> Path:
    """Write adapter, tokenizer, chat template, the task and a model card without figures to `adapter/`.

    Args:
        output_dir: the run's folder.
        engine: the trained model.
        config: what it was trained with.
        data: for the template.
        task: what it was taught.
        step: the last optimizer step.

    Returns:
        The folder.

    Raises:
        OSError: it cannot be written; an earlier one is untouched.
    """
    staging = output_dir / f".staging-{step}-{os.getpid()}"
    shutil.rmtree(staging, ignore_errors=True)
    try:
        engine.save_adapter(staging)
        base = model_folder(config.model_name_or_path)
        save_tokenizer(base, config.model_revision, data.template, staging)
        (staging / TASK_FILE).write_bytes(task_bytes(task))
        (staging / CARD).write_text(model_card(config, data_facts(config, data, task), step), encoding="utf-8")
        for path in staging.iterdir():
            fsync_file(path)
        fsync_folder(staging)
        final = output_dir / ADAPTER
        if final.exists():  # a kill between here and the run's finish leaves the same adapter
            shutil.rmtree(final)
        staging.rename(final)
        fsync_folder(output_dir)
    except BaseException:
        shutil.rmtree(staging, ignore_errors=True)
        raise
    return final


def write_model_card(
    output_dir: Path, config: TrainingConfig, facts: DataFacts, step: int, before: Effect, after: Effect
) -> None:
    """Replace the card of a final adapter by one with what was measured, and what it cost up to now."""
    spending = read_spending(output_dir, until_s=time.time())
    write_atomic(output_dir / ADAPTER / CARD, model_card(config, facts, step, before, after, spending).encode())
