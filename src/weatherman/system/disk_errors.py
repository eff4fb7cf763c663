"""What a disk that refuses is called, and what to do about it; also where a library put the error into words."""

from __future__ import annotations

import errno
import os
import re
from pathlib import Path

from weatherman.errors import WeathermanError

_ERRNO_IN_TEXT = re.compile(r"os error (\d+)")  # how safetensors words an operating system's error
_OF_THE_DISK = (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EIO, errno.EFBIG)
_OTHERWISE = "mend the cause and run the same command; it goes on from the last checkpoint."
_HINTS = {
    errno.ENOSPC: "free some space and run the same command; it goes on from the last checkpoint.",
    errno.EDQUOT: "your quota is used up: free some space and run the same command.",
    errno.EFBIG: "a limit on the size of files is set (ulimit -f): raise it and run the same command.",
    errno.EROFS: "the file system is read-only: mend or remount it and run the same command.",
    errno.ENOENT: "the run's folder was deleted or moved while the run was on.",
    errno.EIO: "the disk reports an error: look after it, then run the same command.",
}


def error_number(problem: BaseException) -> int | None:
    """Find the operating system's error behind a failed write; None if it is none."""
    if isinstance(problem, OSError):
        return problem.errno or errno.EIO
    found = _ERRNO_IN_TEXT.search(str(problem)) if not isinstance(problem, WeathermanError) else None
    return int(found[1]) if found else None


def disk_hint(number: int) -> str:
    """What to do about an error of the operating system."""
    return _HINTS.get(number, _OTHERWISE)


def as_disk_error(problem: BaseException, folder: Path) -> WeathermanError | None:
    """Word an exception that a disk caused, or that is about a file of the run.

    Args:
        problem: any exception.
        folder: the run's folder.

    Returns:
        The error to tell, caused by `problem`; None if the disk is not to blame.
    """
    if isinstance(problem, OSError) and problem.errno is None:  # a library's own, such as a hub that cannot be reached
        return None
    number = error_number(problem)
    name = getattr(problem, "filename", None)
    of_the_run = isinstance(name, (str, os.PathLike)) and Path(name).is_relative_to(folder)
    if number is None or not (number in _OF_THE_DISK or of_the_run):
        return None
    place = name if of_the_run else folder
    told = WeathermanError("run.disk", f"{place}: {os.strerror(number)}.", disk_hint(number))
    told.__cause__ = problem
    return told
