"""The beginning of a task of one's own: files that can be trained on as they are, to be changed."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from weatherman.errors import WeathermanError

STARTER = Path(__file__).with_name("starter")


def write_starter(folder: Path) -> list[str]:
    """Write a configuration, tools, example conversations, prompts and a README; all of them or nothing.

    Args:
        folder: a new folder, or an empty one.

    Returns:
        The names of the files.

    Raises:
        WeathermanError: something is in the folder, or it cannot be written.
    """
    if os.path.lexists(folder) and not (folder.is_dir() and not any(folder.iterdir())):
        raise WeathermanError("init.exists", f"{folder} is not empty, and nothing is replaced.", "name a new folder.")
    staging = folder.with_name(f".{folder.name}.{os.getpid()}.part")
    names = sorted(path.name for path in STARTER.iterdir())
    try:
        staging.mkdir(parents=True)
        for name in names:
            shutil.copyfile(STARTER / name, staging / name)
        staging.replace(folder)  # an empty folder makes way
    except OSError as problem:
        shutil.rmtree(staging, ignore_errors=True)
        raise WeathermanError("init.unwritable", f"{folder} cannot be written: {problem.strerror}.") from problem
    return names
