"""The lines that a user types: with editing and a history where the terminal and this Python have them."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

_MAX_LINES = 1000
_PRIVATE = 0o600


def typed_lines(history_file: Path) -> Iterator[str]:
    """The lines that the user types, with a prompt mark on a terminal.

    They end with Ctrl-D, or with Ctrl-C at the prompt; the cursor then stands on a line of its own.

    Args:
        history_file: keeps what is typed on a terminal; only its owner can read it.
    """
    if not sys.stdin.isatty():
        yield from _read("")
        return
    with history(history_file):
        yield from _read("you> ")
    print(flush=True)


def _read(mark: str) -> Iterator[str]:
    while True:
        try:
            line = input(mark)
        except (EOFError, KeyboardInterrupt):
            return
        yield line


@contextmanager
def history(path: Path) -> Iterator[None]:
    """Edit lines with readline, and keep them in a file that only its owner can read.

    Without readline, lines are typed plainly; a history that cannot be read or written is done without.
    """
    readline = _readline()
    if readline is None:
        yield
        return
    readline.set_history_length(_MAX_LINES)
    with contextlib.suppress(OSError, UnicodeError):
        readline.read_history_file(str(path))
    try:
        yield
    finally:
        with contextlib.suppress(OSError):
            _write(readline, path)


def _readline() -> Any:
    try:
        import readline
    except ImportError:  # not every Python is built with it
        return None
    return readline


def _write(readline: Any, path: Path) -> None:
    """Write the history; at no moment is it anybody else's to read."""
    path.parent.mkdir(parents=True, exist_ok=True)
    mask = os.umask(0o777 & ~_PRIVATE)
    try:
        os.close(os.open(path, os.O_CREAT | os.O_WRONLY, _PRIVATE))
        path.chmod(_PRIVATE)
        readline.write_history_file(str(path))
    finally:
        os.umask(mask)
