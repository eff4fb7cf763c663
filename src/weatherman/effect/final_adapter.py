"""`adapter/`: the trained adapter and all that is needed to use it rightly, written whole or not at all."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from weatherman.config.schema import TrainingConfig
from weatherman.effect.effect import Effect
from weatherman.engine.base import Engine
from weatherman.models.adapter import save_tokenizer
from weatherman.models.base_model import DEMO_MODEL, model_folder
from weatherman.run.training_data import TrainingData
from weatherman.system.atomic import fsync_file, fsync_folder, write_atomic
from weatherman.task.task import TASK_FILE, Task, task_bytes

ADAPTER = "adapter"
CARD = "README.md"
_BASE_LICENCES = {DEMO_MODEL: "apache-2.0", "mistralai/Mistral-7B-Instruct-v0.3": "apache-2.0"}


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
        (staging / CARD).write_text(model_card(config, step), encoding="utf-8")
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


def write_model_card(adapter: Path, config: TrainingConfig, step: int, before: Effect, after: Effect) -> None:
    """Replace the card of a final adapter by one with what was measured."""
    write_atomic(adapter / CARD, model_card(config, step, before, after).encode())


def model_card(config: TrainingConfig, step: int, before: Effect | None = None, after: Effect | None = None) -> str:
    """Make the model card: what it is, how it was made, and what it measures, if it was measured."""
    voices = f"\nIt was trained on these personas alone: {', '.join(config.personas)}." if config.personas else ""
    licence = _BASE_LICENCES.get(config.model_name_or_path, "other")
    figures = _figures(before, after) if before and after else "What it learned was not measured."
    return f"""---
base_model: {config.model_name_or_path}
library_name: peft
license: {licence}
pipeline_tag: text-generation
tags: [lora, weather, tool-calling, persona]
---

# {config.run_name}

A LoRA adapter (r = {config.lora_r}, alpha = {config.lora_alpha}) for
`{config.model_name_or_path}` that answers about the weather in a persona's voice and calls weather tools.
Trained with Weatherman-LoRA for {step} steps of {config.effective_batch_size} conversations at a peak learning rate
of {config.learning_rate:g}.{voices}

{figures}

Use the chat template in this folder (`chat_template.jinja`): it is the one the adapter was trained with.
The personas imitate a manner of speaking; they are not the persons, and the training conversations are generated.
"""


def _figures(before: Effect, after: Effect) -> str:
    tools = after.tools
    rows = [
        "| measured on held-out conversations | base | with this adapter |",
        "|---|---|---|",
        f"| loss (nats per supervised token) | {before.validation_loss:.4f} | {after.validation_loss:.4f} |",
    ]
    if tools.num_prompts:
        name = f"valid tool calls on {tools.num_prompts} held-out prompts"
        rows.append(f"| {name} | {before.tools.num_valid} | {tools.num_valid} |")
    return "\n".join(rows)
