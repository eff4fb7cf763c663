"""Checkpoints that exist whole or not at all, are verified before use, and are never silently replaced.

A checkpoint is written to `.staging-<step>-<pid>`, sealed with its manifest and renamed to `checkpoint-<step>`. One
that is no longer wanted is renamed to `.deleting-<step>-<pid>` first. So a death at any instant leaves only whole
checkpoints under their names, and leftovers that `clean_staging` removes.
"""

from __future__ import annotations

import errno
import os
import re
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from weatherman import messages
from weatherman.checkpoints.manifest import CHECKPOINT_NAME, MANIFEST, Manifest, quick_check, seal, verify_checkpoint
from weatherman.errors import WeathermanError
from weatherman.system.atomic import TEMPORARY, fsync_folder
from weatherman.system.disk_errors import disk_hint, error_number
from weatherman.system.quarantine import Quarantined, set_aside

__all__ = [
    "Checkpoint", "check_free_space", "clean_staging", "list_checkpoints", "newest_verified",
    "save_checkpoint", "verify_checkpoint",
]  # fmt: skip

MIN_KEPT = 2
_LEFTOVER = re.compile(r"\.(staging|deleting)-\d+-\d+", re.ASCII)


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """A checkpoint's folder and its verified manifest."""

    path: Path
    manifest: Manifest

    @property
    def step(self) -> int:
        """The optimizer step it was saved after."""
        return self.manifest.step


def save_checkpoint(
    output_dir: Path,
    step: int,
    run_id: str,
    write_files: Callable[[Path], None],
    *,
    keep: int,
    margin_bytes: int,
) -> Path:
    """Write checkpoint `step`, then delete what is older than the newest `keep` good ones.

    Order: files, fsync of each, manifest (temporary name, fsync, rename), fsync of the folder, rename of the folder,
    fsync of `output_dir`.

    Args:
        output_dir: the run's folder.
        step: the optimizer step that is saved.
        run_id: the run it belongs to.
        write_files: writes the checkpoint's plain files into the folder it is given.
        keep: how many good checkpoints stay, at least 2.
        margin_bytes: free space that must be left beyond twice the last checkpoint.

    Returns:
        The checkpoint's folder.

    Raises:
        WeathermanError: there is no room for it, or it cannot be written; earlier ones are untouched.
    """
    final = output_dir / f"checkpoint-{step}"
    staging = output_dir / f".staging-{step}-{os.getpid()}"
    try:
        check_free_space(output_dir, margin_bytes)
        _remove(staging)
        staging.mkdir()
        write_files(staging)
        manifest = seal(staging, step, run_id)
        if not (os.path.lexists(final) and _same_already(output_dir, final, manifest)):
            staging.rename(final)
            fsync_folder(output_dir)
        quick_check(final, run_id)
    except BaseException as problem:
        shutil.rmtree(staging, ignore_errors=True)
        if (number := error_number(problem)) is None:
            raise
        raise _write_failed(output_dir, step, number) from problem
    shutil.rmtree(staging, ignore_errors=True)
    _retain(output_dir, run_id, keep)
    return final


def check_free_space(output_dir: Path, margin_bytes: int) -> None:
    """Refuse to start a save that might fill the disk.

    Raises:
        WeathermanError: less than 2 x the last checkpoint + margin is free.
    """
    last_bytes = 0
    for _, path in list_checkpoints(output_dir):
        try:
            last_bytes = quick_check(path).num_bytes
            break
        except WeathermanError:
            continue
    needed_bytes = 2 * last_bytes + margin_bytes
    free_bytes = shutil.disk_usage(output_dir).free
    if free_bytes < needed_bytes:
        raise WeathermanError(
            "checkpoint.no-space",
            f"{_size(free_bytes)} free in {output_dir}, but the next checkpoint asks for "
            f"{_size(needed_bytes)} (twice the last one and a margin).",
            disk_hint(errno.ENOSPC),
        )


def _size(num_bytes: int) -> str:
    return f"{num_bytes / 2**30:.1f} GB" if num_bytes >= 2**30 else f"{num_bytes / 2**20:.1f} MB"


def _same_already(output_dir: Path, final: Path, manifest: Manifest) -> bool:
    """Whether the checkpoint that stands there is good and the very same; any other is moved aside."""
    try:
        if verify_checkpoint(final, manifest.run_id) == manifest:
            return True
        reason = f"{final.name} stood where this run saved other content."
    except WeathermanError as problem:
        reason = problem.message
    set_aside(output_dir, final, reason)
    return False


def _write_failed(output_dir: Path, step: int, number: int) -> WeathermanError:
    return WeathermanError(
        "checkpoint.write-failed",
        f"checkpoint {step} could not be written to {output_dir}: {os.strerror(number)}. Earlier ones are untouched.",
        disk_hint(number),
    )


def list_checkpoints(output_dir: Path) -> list[tuple[int, Path]]:
    """Whatever is named like a checkpoint, with its step, newest first; nothing is verified."""
    found = []
    for path in output_dir.iterdir() if output_dir.is_dir() else ():
        if match := CHECKPOINT_NAME.fullmatch(path.name):
            found.append((int(match[1]), path))
    return sorted(found, reverse=True)


def newest_verified(
    output_dir: Path, run_id: str, *, expected: str | None = None
) -> tuple[Checkpoint | None, list[Quarantined]]:
    """Find the newest checkpoint that verifies, and move newer ones that do not to `quarantine/`.

    If none verifies, all stay where they are: the next start must not take an emptied folder for a new run.

    Args:
        output_dir: the run's folder.
        run_id: the run that the checkpoint must belong to.
        expected: the checkpoint that the run last recorded; starting from zero is then an error.

    Returns:
        The checkpoint (None for a run that has none yet) and what was moved aside.

    Raises:
        WeathermanError: checkpoints existed and none verifies.
    """
    bad: list[tuple[Path, str]] = []
    for _, path in list_checkpoints(output_dir):
        try:
            found = Checkpoint(path, verify_checkpoint(path, run_id))
        except WeathermanError as problem:
            bad.append((path, problem.message))
            continue
        return found, [moved for one, reason in bad if (moved := _try_set_aside(output_dir, one, reason))]
    if bad or expected:
        reasons = " ".join(reason for _, reason in bad) or f"{expected}, which was saved, is gone."
        raise WeathermanError(
            "checkpoint.none-verifies",
            f"no checkpoint of {output_dir} can be used. {reasons}",
            "put a good copy back, or begin again in another output_dir; nothing was changed.",
        )
    return None, []


def _try_set_aside(output_dir: Path, path: Path, reason: str) -> Quarantined | None:
    try:
        return set_aside(output_dir, path, reason)
    except OSError as problem:
        messages.warning(f"{reason} It could not be moved aside: {problem.strerror or problem}.")
        return None


def clean_staging(output_dir: Path) -> None:
    """Remove what saves, deletions and atomic writes of dead processes left; call it with the run's lock held."""
    for path in list(output_dir.iterdir()) if output_dir.is_dir() else ():
        if _LEFTOVER.fullmatch(path.name) or TEMPORARY.fullmatch(path.name):
            try:
                _remove(path)
            except OSError as problem:
                messages.warning(f"the leftover {path} could not be removed: {problem.strerror or problem}.")


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def _retain(output_dir: Path, run_id: str, keep: int) -> None:
    """Delete what is older than the newest `keep` good checkpoints; the newest two of those are read in full first."""
    candidates = list_checkpoints(output_dir)
    if len(candidates) <= max(MIN_KEPT, keep):
        return
    num_kept = 0
    for _, path in candidates:
        if num_kept >= max(MIN_KEPT, keep):
            _delete(output_dir, path)
            continue
        try:  # the newest was hashed a moment ago
            (verify_checkpoint if num_kept == 1 else quick_check)(path, run_id)
            num_kept += 1
        except WeathermanError:
            continue


def _delete(output_dir: Path, path: Path) -> None:
    """Take a checkpoint's name away, then its manifest, then the rest: a half-deleted one never counts."""
    doomed = output_dir / f".deleting-{path.name.removeprefix('checkpoint-')}-{os.getpid()}"
    try:
        if path.is_symlink() or not path.is_dir():
            set_aside(output_dir, path, f"{path.name} is not a folder.")
            return
        path.rename(doomed)
        fsync_folder(output_dir)
        (doomed / MANIFEST).unlink(missing_ok=True)
        fsync_folder(doomed)
        shutil.rmtree(doomed)
    except OSError as problem:
        messages.warning(f"the old {path.name} could not be deleted: {problem.strerror or problem}.")
