"""Which files a place means: one file, a pattern, a folder in the hub's layout, or several of these with shares."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from weatherman.errors import WeathermanError

SUFFIXES = (".jsonl", ".json", ".ndjson", ".parquet", ".arrow", ".feather")
_PACKED = (".gz", ".zst")
_SHARE = re.compile(r"(.+)=(0?\.\d+|1|1\.0+|0\.\d+)")
_SPLITS = ("train", "test", "validation", "valid", "val", "dev", "eval")
_PATTERN = re.compile(r"[*?\[]")
_HINT = "data/processed/ is made by the set-up; see data/README.md."


@dataclass(frozen=True, slots=True)
class DataFile:
    """A file to read, and which share of its rows is taken."""

    path: Path
    share: float = 1.0

    def takes(self, number: int) -> bool:
        """Whether a row is among the share; it depends on the file's name and the row's number alone."""
        if self.share >= 1:
            return True
        digest = hashlib.sha256(f"{self.path.name}:{number}".encode("utf-8", "replace")).digest()
        return int.from_bytes(digest[:8], "big") < self.share * 2**64


def data_files(place: Path) -> list[DataFile]:
    """The files that a place means, in the order of their names.

    Args:
        place: a path; a pattern such as ``chats/*.jsonl``; a folder; or several, ``a.jsonl + b.jsonl=0.25``, where the
            number is the share of the rows that is taken.

    Raises:
        WeathermanError: nothing is there, or a folder holds no data.
    """
    if _exists(place):
        return _of_one(place, 1.0)
    found: list[DataFile] = []
    for part in str(place).split(" + "):
        match = _SHARE.fullmatch(part.strip())
        name, share = (match[1], float(match[2])) if match and not _exists(Path(part.strip())) else (part.strip(), 1.0)
        if share == 0:
            raise WeathermanError("data.share", f"{name}: a share of 0 takes no row.", "leave the file out.")
        found += _of_one(Path(name), share)
    return found


def _exists(path: Path) -> bool:
    try:
        return path.exists()
    except (OSError, ValueError):  # ValueError: a NUL byte; told where the file is opened
        return True


def _of_one(path: Path, share: float) -> list[DataFile]:
    if not _exists(path) and _PATTERN.search(str(path)):
        anchor = Path(path.anchor or ".")
        matches = sorted(one for one in anchor.glob(str(path.relative_to(path.anchor))) if one.is_file())
        if not matches:
            raise WeathermanError("data.missing", f"no file matches {path}.", _HINT)
        return [DataFile(one, share) for one in matches]
    if path.is_dir():
        return [DataFile(one, share) for one in _of_folder(path)]
    return [DataFile(path, share)]


def _of_folder(folder: Path) -> list[Path]:
    """The training split of a folder in the hub's layout; all its files where no name speaks of a split."""
    files = sorted(one for one in _walk(folder) if _is_data(one))
    if not files:
        text = f"{folder} is a folder without a data file ({', '.join(SUFFIXES)})."
        raise WeathermanError("data.is-folder", text, "name a file.")
    splits = {one: _split_of(one.relative_to(folder)) for one in files}
    if "train" in splits.values():
        return [one for one in files if splits[one] == "train"]
    return [one for one in files if splits[one] is None] or files


def _walk(folder: Path) -> Iterator[Path]:
    for one in folder.rglob("*"):
        if one.is_file() and not any(part.startswith(".") for part in one.relative_to(folder).parts):
            yield one


def _is_data(path: Path) -> bool:
    name = path.name.lower()
    for ending in _PACKED:
        name = name.removesuffix(ending)
    return name.endswith(SUFFIXES) and path.name not in ("dataset_infos.json", "dataset_info.json", "state.json")


def _split_of(path: Path) -> str | None:
    """The split that a file's name or folder speaks of, e.g. ``data/train-00000-of-00002.parquet``."""
    for part in (path.name, *reversed(path.parts[:-1])):
        for word in re.split(r"[^a-z]+", part.lower()):
            if word in _SPLITS:
                return word
    return None
