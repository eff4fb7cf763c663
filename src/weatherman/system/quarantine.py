"""What cannot be trusted is moved aside, never deleted."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from weatherman import messages
from weatherman.system.atomic import fsync_folder

QUARANTINE = "quarantine"


@dataclass(frozen=True, slots=True)
class Quarantined:
    """Something moved aside: its old name, where it is now, and why."""

    name: str
    path: Path
    reason: str


def set_aside(output_dir: Path, path: Path, reason: str) -> Quarantined:
    """Move a file or folder of a run to its `quarantine/`, under a name that is free, and say so.

    Args:
        output_dir: the run's folder.
        path: what to move; a link is moved itself.
        reason: why, a sentence.

    Raises:
        OSError: it cannot be moved.
    """
    place = output_dir / QUARANTINE
    place.mkdir(exist_ok=True)
    if place.is_symlink():
        raise NotADirectoryError(f"{place} is a link")
    target, number = place / path.name, 1
    while os.path.lexists(target):
        number += 1
        target = place / f"{path.name}.{number}"
    path.rename(target)
    fsync_folder(place)
    fsync_folder(output_dir)
    messages.warning(f"{reason} It is kept as {target}.")
    return Quarantined(path.name, target, reason)


def set_aside_unless_file(output_dir: Path, path: Path) -> None:
    """Move aside what is no regular file (a link, a folder) where a file of the run belongs; a failure is told."""
    if path.is_symlink() or (path.exists() and not path.is_file()):
        try:
            set_aside(output_dir, path, f"{path.name} is not a regular file.")
        except OSError as problem:
            messages.warning(f"{path} is not a regular file and cannot be moved aside ({problem.strerror or problem}).")
