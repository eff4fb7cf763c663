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
from weatherman.models.base_model import model_folder
from weatherman.run.spending import read_spending
from weatherman.run.training_data import TrainingData
from weatherman.system.atomic import fsync_file, fsync_folder, write_atomic

ADAPTER = "adapter"
CARD = "README.md"


def save_final_adapter(
    output_dir: Path,
    engine: Engine,
    config: TrainingConfig,
    data: TrainingData,
    step: int,
) -> Path:
    """Write adapter, tokenizer, chat template and a model card without figures to `adapter/`.

    Args:
        output_dir: the run's folder.
        engine: the trained model.
        config: what it was trained with.
        data: for the template.
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
        _save_tokenizer(staging, config, data)
        (staging / CARD).write_text(model_card(config, data_facts(config, data), step), encoding="utf-8")
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


def _save_tokenizer(folder: Path, config: TrainingConfig, data: TrainingData) -> None:
    """Save the base model's tokenizer with the chat template that this adapter was trained with."""
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(model_folder(config.model_name_or_path), revision=config.model_revision)
    tokenizer.chat_template = data.template.jinja
    tokenizer.save_pretrained(folder)


def write_model_card(
    output_dir: Path, config: TrainingConfig, facts: DataFacts, step: int, before: Effect, after: Effect
) -> None:
    """Replace the card of a final adapter by one with what was measured, and what it cost up to now."""
    spending = read_spending(output_dir, until_s=time.time())
    write_atomic(output_dir / ADAPTER / CARD, model_card(config, facts, step, before, after, spending).encode())
