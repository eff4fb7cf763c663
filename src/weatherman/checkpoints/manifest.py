"""What a checkpoint's folder must hold: its manifest names every file with size and SHA-256, the run and the step.

Nothing else may be in the folder: no other file, no folder, no link. A checkpoint without its manifest does not exist.
"""

from __future__ import annotations

import os
import re
import stat
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from weatherman.errors import WeathermanError
from weatherman.system.atomic import fsync_file, fsync_folder, read_json_object, to_json, write_json
from weatherman.system.fingerprint import hash_file

MANIFEST = "manifest.json"
FORMAT_VERSION = 1
CHECKPOINT_NAME = re.compile(r"checkpoint-(0|[1-9]\d{0,11})", re.ASCII)
_FILE_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,200}")
_SHA256 = re.compile(r"[0-9a-f]{64}")
_MAX_BYTES = 2**20


@dataclass(frozen=True, slots=True)
class FileFacts:
    """A file's size in bytes and the SHA-256 of its content in hex."""

    size: int
    sha256: str


@dataclass(frozen=True, slots=True)
class Manifest:
    """The run and step of a checkpoint, and its files by name."""

    run_id: str
    step: int
    files: dict[str, FileFacts]

    @property
    def num_bytes(self) -> int:
        """Size of all files together."""
        return sum(facts.size for facts in self.files.values())


def damaged(path: Path, reason: str) -> WeathermanError:
    """Make the error for a checkpoint that cannot be trusted."""
    return WeathermanError("checkpoint.damaged", f"{path.name} cannot be used: {reason}.")


def seal(folder: Path, step: int, run_id: str) -> Manifest:
    """Force every file of a folder to the disk, then write the manifest, last and atomically.

    Raises:
        OSError: a file cannot be read or forced to the disk.
        ValueError: the folder holds what a checkpoint may not hold.
    """
    files = {}
    for path in sorted(folder.iterdir()):
        if not stat.S_ISREG(path.lstat().st_mode) or not _FILE_NAME.fullmatch(path.name) or path.name == MANIFEST:
            raise ValueError(f"a checkpoint holds plain files only, not {path.name!r}")
        fsync_file(path)
        files[path.name] = FileFacts(path.stat().st_size, hash_file(path))
    if not files:
        raise ValueError("a checkpoint without files says nothing")
    manifest = Manifest(run_id, step, files)
    write_json(folder / MANIFEST, {"format_version": FORMAT_VERSION, **asdict(manifest)})
    fsync_folder(folder)
    return manifest


def quick_check(path: Path, run_id: str | None = None) -> Manifest:
    """Check the manifest, and that exactly its files are there with their sizes; contents are not read.

    Args:
        path: the folder `checkpoint-<step>`.
        run_id: the run it must belong to; None for any.

    Raises:
        WeathermanError: the reason why it cannot be trusted.
    """
    try:
        if path.is_symlink() or not path.is_dir():
            raise damaged(path, "it is not a folder")
        manifest = _read_manifest(path)
        name = CHECKPOINT_NAME.fullmatch(path.name)
        if not name or manifest.step != int(name[1]):
            raise damaged(path, f"its manifest is that of step {manifest.step}")
        if run_id is not None and manifest.run_id != run_id:
            raise damaged(path, f"it belongs to another run ({manifest.run_id[:80]})")
        found = {entry.name: entry.stat(follow_symlinks=False) for entry in os.scandir(path)}
    except OSError as problem:
        raise damaged(path, f"it cannot be read: {problem.strerror}") from problem
    del found[MANIFEST]
    if extra := sorted(found.keys() - manifest.files.keys()):
        raise damaged(path, f"it holds {extra[0]!r}, which its manifest does not name")
    for file, facts in manifest.files.items():
        if file not in found:
            raise damaged(path, f"{file} is missing")
        if not stat.S_ISREG(found[file].st_mode):
            raise damaged(path, f"{file} is not a regular file")
        if found[file].st_size != facts.size:
            raise damaged(path, f"{file} has {found[file].st_size} bytes instead of {facts.size}")
    return manifest


def verify_checkpoint(path: Path, run_id: str | None = None) -> Manifest:
    """Check every file of a checkpoint against its manifest, contents included.

    Args:
        path: the folder `checkpoint-<step>`.
        run_id: the run it must belong to; None for any.

    Returns:
        Its manifest.

    Raises:
        WeathermanError: the reason why it cannot be trusted.
    """
    manifest = quick_check(path, run_id)
    for name, facts in manifest.files.items():
        try:
            if hash_file(path / name) != facts.sha256:
                raise damaged(path, f"the content of {name} does not match its SHA-256")
        except OSError as problem:
            raise damaged(path, f"{name} cannot be read: {problem.strerror}") from problem
    return manifest


def _read_manifest(path: Path) -> Manifest:
    try:
        raw = read_json_object(path / MANIFEST, _MAX_BYTES)
        if (path / MANIFEST).read_bytes() != to_json(raw):
            raise ValueError("it is not as it was written")
    except FileNotFoundError as problem:
        raise damaged(path, f"{MANIFEST} is missing: it was never finished, or is being deleted") from problem
    except ValueError as problem:
        raise damaged(path, f"{MANIFEST} cannot be used: {problem}") from problem
    kinds = {"format_version": int, "run_id": str, "step": int, "files": dict}
    for key, kind in kinds.items():
        if type(raw.get(key)) is not kind:
            raise damaged(path, f"{MANIFEST} is not a manifest: {key} is wrong or missing")
    if raw["format_version"] != FORMAT_VERSION:
        raise damaged(path, f"its format {raw['format_version'] % 10**9} is not {FORMAT_VERSION}")
    if not 0 <= raw["step"] < 10**12 or not raw["files"]:
        raise damaged(path, f"{MANIFEST} is not a manifest: its step is impossible or it names no files")
    return Manifest(raw["run_id"], raw["step"], {name: _facts(path, name, one) for name, one in raw["files"].items()})


def _facts(path: Path, name: str, raw: Any) -> FileFacts:
    if not _FILE_NAME.fullmatch(name) or name == MANIFEST:
        raise damaged(path, f"its manifest names {name[:80]!r}, which is not a plain file name")
    size, sha256 = (raw.get("size"), raw.get("sha256")) if isinstance(raw, dict) else (None, None)
    if type(size) is not int or size < 0 or not isinstance(sha256, str) or not _SHA256.fullmatch(sha256):
        raise damaged(path, f"its manifest gives {name} no usable size and SHA-256")
    return FileFacts(size, sha256)
