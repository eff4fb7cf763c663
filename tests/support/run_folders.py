"""Small run folders and faults for the tests of checkpoints, resume, lock, events and status."""

from __future__ import annotations

import errno
import os
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from weatherman.checkpoints.checkpoint import save_checkpoint

RUN_ID = "run-1"
SYSTEM_CALLS = ("open", "write", "fsync", "replace", "rename", "unlink", "mkdir", "rmdir")


def writer(step: int, size: int = 300) -> Callable[[Path], None]:
    """A `write_files` whose content depends on the step."""

    def write_files(folder: Path) -> None:
        for name in ("adapter_model.safetensors", "optimizer.safetensors", "state.json"):
            (folder / name).write_bytes(f"{name} {step} ".encode() * size)

    return write_files


def save(folder: Path, step: int, keep: int = 2) -> Path:
    return save_checkpoint(folder, step, RUN_ID, writer(step), keep=keep, margin_bytes=0)


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


@contextmanager
def failing_call(monkeypatch: pytest.MonkeyPatch, nth: int, number: int) -> Iterator[list[str]]:
    """The `nth` system call of `SYSTEM_CALLS` (from 1) fails once with errno `number`; yields the calls made.

    With `number` 0 the process dies at that call instead, as by SIGKILL.
    """
    calls: list[str] = []

    def wrap(name: str) -> Callable[..., object]:
        real = getattr(os, name)

        def call(*args: object, **kwargs: object) -> object:
            calls.append(name)
            if len(calls) == nth and not number:
                os.kill(os.getpid(), signal.SIGKILL)
            if len(calls) == nth:
                raise OSError(number, os.strerror(number))
            return real(*args, **kwargs)

        return call

    with monkeypatch.context() as patch:
        for name in SYSTEM_CALLS:
            patch.setattr(os, name, wrap(name))
        yield calls


ERRORS = (errno.ENOSPC, errno.EIO)
