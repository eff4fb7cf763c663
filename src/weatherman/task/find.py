"""The task of a run's data, and of an adapter wherever it lies: from its file, else from the data it was trained on."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

from weatherman.data.reading import PLAIN, Reading
from weatherman.errors import WeathermanError
from weatherman.rendering.render_file import conversations_of
from weatherman.system.fingerprint import hash_file
from weatherman.task.collect import MAX_QUESTIONS, collect_task, first_question
from weatherman.task.task import TASK_FILE, Task, read_task

_NUM_LOOKED_AT = 200


def task_of_files(
    train_file: Path,
    validation_file: Path | None,
    personas: Sequence[str],
    questions: Sequence[str] = (),
    reading: Reading = PLAIN,
) -> Task:
    """Collect the task of a training file.

    Args:
        train_file: what is trained on.
        validation_file: held-out conversations, whose questions the model has not seen.
        personas: whose conversations are taken, the default first; empty for all.
        questions: the task's, if they are given.
        reading: how the files are to be read.

    Raises:
        WeathermanError: a file cannot be read, or a row is not valid.
    """
    held_out = _questions(validation_file, personas, reading) if validation_file and not questions else ()
    return collect_task(conversations_of(train_file, personas, reading), questions or tuple(held_out), personas)


def task_of_adapter(folder: Path, run: Mapping[str, Any]) -> tuple[Task, str]:
    """Find the task of an adapter: its own file, its run's, or, of an older one, what its training file says.

    Args:
        folder: the adapter's.
        run: what `run.json` says; empty where there is none.

    Returns:
        The task, and what is to be told about it: empty if it comes from its file.

    Raises:
        WeathermanError: its file cannot be read.
    """
    for place in (folder, folder.parent):
        try:
            return read_task(place / TASK_FILE), ""
        except FileNotFoundError:
            continue
    told = f"{folder} has no {TASK_FILE} (it was made by an older version)"
    config = run.get("config")
    frozen = run.get("frozen")
    if isinstance(config, dict) and isinstance(frozen, dict):
        path, personas = Path(str(config.get("train_file", ""))), config.get("personas")
        try:
            if path.is_file() and hash_file(path) == frozen.get("data"):
                task = task_of_files(path, None, personas if isinstance(personas, list) else ())
                return task, f"{told}; its tools, prompts and questions are taken from {path}."
        except (OSError, WeathermanError):
            pass
    return Task(), f"{told}, nor is its training file here: it speaks without system prompt and without trained tools."


def _questions(path: Path, personas: Sequence[str], reading: Reading) -> Iterator[str]:
    asked = (first_question(one) for one in islice(conversations_of(path, personas, reading), _NUM_LOOKED_AT))
    return islice(dict.fromkeys(question for question in asked if question), MAX_QUESTIONS)
