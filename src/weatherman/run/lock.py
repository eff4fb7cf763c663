"""One trainer per run folder: a lock that dies with its process.

The kernel's record lock (`lockf`) is taken rather than `flock`, which lives on in every forked child. Some network
volumes have no locks, or locks that other machines do not see, so the lock file also names its holder by host, pid and
start, and beats every few seconds. A holder on this machine is looked up; one on another machine is watched for a
beat, which no clock can fool.

A record lock is lost when its process closes *any* descriptor of the file. So `read_holder` opens none of a lock that
this process holds; and if a library does (an upload of the folder), the record still speaks for its living holder.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import json
import os
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from weatherman.errors import WeathermanError
from weatherman.system.clock import boot_id, now_utc
from weatherman.system.own_command import own_command
from weatherman.system.process import identity, is_suspended

LOCK_FILE = "run.lock"
BEAT_S = 5.0
PATIENCE_S = 20.0  # without a beat for so long, a holder on another machine is dead
_SETTLE_S = 0.5
_RECORD_BYTES = 1024  # always written whole, so that no reader sees half a record


@dataclass(frozen=True, slots=True)
class Holder:
    """Who holds a lock: host, boot, pid and start of the process; `beat` counts up while it lives."""

    host: str
    boot: str
    pid: int
    process: str | None
    since: str
    beat: int = 0

    @property
    def is_local(self) -> bool:
        """Whether it is, or was, a process of this machine since its last start."""
        return (self.host, self.boot) == (socket.gethostname(), boot_id())


_held: dict[tuple[int, int], Holder] = {}  # the lock files this process holds, by device and inode


@contextmanager
def run_lock(output_dir: Path, *, patience_s: float = PATIENCE_S) -> Iterator[None]:
    """Hold the run folder's lock.

    Args:
        output_dir: the run's folder; it exists.
        patience_s: how long a holder on another machine is watched for a sign of life.

    Raises:
        WeathermanError: another trainer works here, or the lock cannot be written.
    """
    path = output_dir / LOCK_FILE
    try:
        fd, holder = _acquire(path, patience_s)
    except OSError as problem:
        raise WeathermanError(
            "run.lock-failed",
            f"the lock {path} cannot be taken: {problem.strerror or problem}.",
            "it is no file that a trainer made: move it away and run the same command."
            if path.is_symlink() or path.is_dir()
            else "make the folder writable and see that its disk has space.",
        ) from problem
    place = _place(fd)
    _held[place] = holder
    stop = threading.Event()
    beating = threading.Thread(target=_beat, args=(fd, holder, stop), name="run-lock", daemon=True)
    beating.start()
    try:
        yield
    finally:
        stop.set()
        beating.join()
        with contextlib.suppress(OSError):
            if _is_at(path, place):
                path.unlink()
        del _held[place]
        os.close(fd)


def read_holder(path: Path) -> Holder | None:
    """Read who holds a lock file; None if nobody can be read there."""
    for place, holder in list(_held.items()):
        if _is_at(path, place):
            return holder
    try:
        with path.open("rb") as file:
            return _parse(file.read(_RECORD_BYTES))
    except OSError:
        return None


def _acquire(path: Path, patience_s: float) -> tuple[int, Holder]:
    judged: Holder | None = None
    while True:
        found = read_holder(path)
        if found in _held.values():  # before anything is opened: closing it would lose the lock
            raise _locked(path, found)
        if found and found != judged:
            _refuse_if_alive(found, path, patience_s)
        judged = found
        fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o644)
        try:
            has_locks = _try_lock(fd, path)
            if _is_at(path, _place(fd)) and _parse(os.pread(fd, _RECORD_BYTES, 0)) == judged:
                holder = Holder(socket.gethostname(), boot_id(), os.getpid(), identity(os.getpid()), now_utc())
                _write(fd, holder)
                if not has_locks:
                    _settle(fd, holder, path)
                return fd, holder
        except BaseException:
            os.close(fd)
            raise
        os.close(fd)  # somebody was faster: judge again


def _try_lock(fd: int, path: Path) -> bool:
    """Take the kernel's lock; false where the file system has none."""
    try:
        fcntl.lockf(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as problem:
        if problem.errno in (errno.EACCES, errno.EAGAIN):
            raise _locked(path, _parse(os.pread(fd, _RECORD_BYTES, 0))) from problem
        return False
    return True


def _settle(fd: int, holder: Holder, path: Path) -> None:
    """Without locks, the last of two that start together wins: wait, and see whether the record is still ours."""
    time.sleep(_SETTLE_S)
    found = _parse(os.pread(fd, _RECORD_BYTES, 0))
    if found != holder:
        raise _locked(path, found)


def _refuse_if_alive(holder: Holder, path: Path, patience_s: float) -> None:
    if holder.is_local:
        if holder.process is not None and identity(holder.pid) == holder.process:
            raise _locked(path, holder)
        return
    until_s = time.monotonic() + patience_s
    while time.monotonic() < until_s:
        time.sleep(min(1.0, patience_s / 4))
        if (now := read_holder(path)) != holder:
            raise _locked(path, now)


def _locked(path: Path, holder: Holder | None) -> WeathermanError:
    who = "one that has just started"
    if holder:
        who = f"process {holder.pid} on {holder.host}, since {holder.since}"
        if holder.is_local and is_suspended(holder.pid):
            who += f" (suspended; kill -CONT {holder.pid} lets it go on)"
    return WeathermanError(
        "run.locked",
        f"another trainer works in {path.parent}: {who}.",
        f"look at it with: {own_command('status', str(path.parent))}",
    )


def _beat(fd: int, holder: Holder, stop: threading.Event) -> None:
    while not stop.wait(BEAT_S):
        holder = replace(holder, beat=holder.beat + 1)
        with contextlib.suppress(OSError):  # a full disk must not end a run
            _write(fd, holder)


def _write(fd: int, holder: Holder) -> None:
    os.pwrite(fd, json.dumps(asdict(holder)).encode("ascii").ljust(_RECORD_BYTES), 0)


def _parse(data: bytes) -> Holder | None:
    try:
        holder = Holder(**json.loads(data))
    except (ValueError, TypeError, RecursionError):
        return None
    fits = type(holder.pid) is int and holder.pid > 0 and isinstance(holder.host, str) and isinstance(holder.boot, str)
    return holder if fits else None


def _place(fd: int) -> tuple[int, int]:
    facts = os.fstat(fd)
    return facts.st_dev, facts.st_ino


def _is_at(path: Path, place: tuple[int, int]) -> bool:
    try:
        facts = path.stat()
    except OSError:
        return False
    return (facts.st_dev, facts.st_ino) == place
