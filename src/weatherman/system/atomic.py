"""Durable writes: a file appears whole or not at all, also after power is lost."""

from __future__ import annotations

import contextlib
import errno
import itertools
import json
import os
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, TextIO

TEMPORARY = re.compile(r"\..+\.\d+\.\d+\.tmp")  # the names that `write_atomic` gives to its temporary files
_NOT_SUPPORTED = {errno.EINVAL, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOTTY, errno.ENOSYS}
_counter = itertools.count()


def fsync_fd(fd: int) -> None:
    """Force a file's data to the disk itself (macOS's fsync only reaches the drive's cache)."""
    if sys.platform == "darwin":
        import fcntl

        try:
            fcntl.fcntl(fd, fcntl.F_FULLFSYNC)
            return
        except OSError as problem:  # some file systems have only fsync
            if problem.errno not in _NOT_SUPPORTED:
                raise
    os.fsync(fd)


def fsync_file(path: Path) -> None:
    """Force a file to the disk."""
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
    try:
        fsync_fd(fd)
    finally:
        os.close(fd)


def fsync_folder(path: Path) -> None:
    """Force a folder's list of names to the disk, where the file system knows how."""
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_DIRECTORY)
    try:
        fsync_fd(fd)
    except OSError as problem:  # network and FUSE volumes may refuse it for folders
        if problem.errno not in _NOT_SUPPORTED:
            raise
    finally:
        os.close(fd)


def write_atomic(path: Path, data: bytes, *, durable: bool = True) -> None:
    """Replace `path` by `data`: temporary file, fsync, rename, fsync of the folder.

    Args:
        path: the file.
        data: its new content.
        durable: wait for the disk; otherwise the content survives the process's death, but not a power cut.

    Raises:
        OSError: it could not be written; the old content is still there.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}.{next(_counter)}.tmp")
    try:
        fd = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC | os.O_NOFOLLOW, 0o644)
        try:
            view = memoryview(data)
            while view:
                view = view[os.write(fd, view) :]
            if durable:
                fsync_fd(fd)
        finally:
            os.close(fd)
        temporary.replace(path)
    except BaseException:
        with contextlib.suppress(OSError):
            temporary.unlink()
        raise
    if durable:
        fsync_folder(path.parent)


@contextlib.contextmanager
def text_written_atomically(path: Path) -> Iterator[TextIO]:
    """A text file to write line by line, which replaces `path` when the block ends well, and else leaves nothing.

    Raises:
        OSError: it could not be written; the old content is still there.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}.{next(_counter)}.tmp")
    try:
        with temporary.open("w", encoding="utf-8", newline="\n") as file:
            yield file
        fsync_file(temporary)
        temporary.replace(path)
    except BaseException:
        with contextlib.suppress(OSError):
            temporary.unlink()
        raise


def to_json(value: Any) -> bytes:
    """Stable, strict ASCII JSON with a final newline; NaN and infinities become null."""
    return (json.dumps(_finite(value), indent=1, sort_keys=True, allow_nan=False) + "\n").encode("ascii")


def _finite(value: Any) -> Any:
    if isinstance(value, float):
        return value if abs(value) < float("inf") else None
    if isinstance(value, dict):
        return {str(key): _finite(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_finite(item) for item in value]
    return value


def write_json(path: Path, value: Any, *, durable: bool = True) -> None:
    """Replace a JSON file atomically; see `write_atomic` and `to_json`."""
    write_atomic(path, to_json(value), durable=durable)


def read_json_object(path: Path, max_bytes: int) -> dict[str, Any]:
    """Read a JSON object from a regular file of limited size.

    Args:
        path: the file.
        max_bytes: more than this is refused unread.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it is no regular file (a link, a folder, a pipe), is too large, or holds no JSON object.
        OSError: it cannot be read.
    """
    if path.is_symlink() or (path.exists() and not path.is_file()):
        raise ValueError("it is not a regular file")
    with path.open("rb") as file:
        data = file.read(max_bytes + 1)
    if len(data) > max_bytes:
        raise ValueError(f"it is larger than {max_bytes} bytes")
    if not data.strip(b" \t\r\n\0"):
        raise ValueError("it is empty")
    try:
        value = json.loads(data)
    except (ValueError, RecursionError) as problem:
        raise ValueError("it is not JSON") from problem
    if not isinstance(value, dict):
        raise ValueError("it is not a JSON object")
    return value
