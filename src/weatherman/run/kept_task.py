"""The task that a run keeps in its folder: written once from its data, and held to its hash when the run goes on."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from weatherman import messages
from weatherman.config.schema import TrainingConfig
from weatherman.data.reading import Reading
from weatherman.errors import WeathermanError
from weatherman.models.base_model import cache_folder
from weatherman.run.training_data import TrainingData
from weatherman.system.atomic import write_atomic
from weatherman.system.fingerprint import hash_text
from weatherman.system.quarantine import set_aside, set_aside_unless_file
from weatherman.task.find import task_of_files
from weatherman.task.task import FORMAT_VERSION, TASK_FILE, Task, read_task, task_bytes

_CACHE = "tasks"


def keep_task(output_dir: Path, config: TrainingConfig, data: TrainingData, frozen: Mapping[str, Any] | None) -> Task:
    """The task of a run, whose `task.json` is there afterwards.

    A run that goes on keeps the file it began with. One that is missing or was changed is written again from the data
    (whose own hash was checked), and the changed one is kept in `quarantine/`. Runs of older versions get theirs now.

    Args:
        output_dir: the run's folder.
        config: which conversations are taken, and the questions to ask.
        data: for the files' hashes.
        frozen: what the run's last checkpoint holds; None for a run that begins.

    Raises:
        OSError: the file cannot be written.
        WeathermanError: the data cannot be read.
    """
    path = output_dir / TASK_FILE
    wanted = (frozen or {}).get("task")
    if wanted:
        try:
            known = read_task(path)
            if task_hash(known) == wanted:
                return known
        except (OSError, WeathermanError):
            pass
        if path.is_file():
            set_aside(output_dir, path, f"{TASK_FILE} is not the one this run began with; it is written again.")
        else:
            messages.warning(f"{path} is missing; it is written again from the data.")
    set_aside_unless_file(output_dir, path)
    task = _collected(config, data)
    write_atomic(path, task_bytes(task))
    return task


def _collected(config: TrainingConfig, data: TrainingData) -> Task:
    """Collect the task, or take it from the cache: reading a large file again takes as long as rendering it."""
    chosen = [*config.personas, "", *config.sample_prompts, "", config.data_format, config.train_on]
    key = hash_text(str(FORMAT_VERSION), data.train_hash, data.validation_hash, *chosen)
    kept = cache_folder() / _CACHE / f"{key}.json"
    try:
        return read_task(kept)
    except (OSError, WeathermanError):
        pass
    task = task_of_files(
        Path(config.train_file),
        Path(config.validation_file) if config.validation_file else None,
        config.personas,
        config.sample_prompts,
        Reading(config.data_format, config.train_on),
    )
    try:
        kept.parent.mkdir(parents=True, exist_ok=True)
        write_atomic(kept, task_bytes(task), durable=False)
    except OSError as problem:
        messages.warning(f"the task of the data is not kept in {kept.parent}: {problem.strerror}.")
    return task


def task_hash(task: Task) -> str:
    """SHA-256 of a task as `task.json` spells it: one of the facts that checkpoints hold."""
    return hashlib.sha256(task_bytes(task)).hexdigest()
