"""Following files that grow: complete lines only, whatever happens to the file meanwhile."""

from __future__ import annotations

import contextlib
import re
import sys
from pathlib import Path
from typing import Any, TextIO

from weatherman import messages
from weatherman.run.events import parse_event

_MAX_READ_BYTES = 2**22
_TAGGED = re.compile(r"\[(" + "|".join(messages.TAGS) + r")\] (.*)", re.DOTALL)
_SHOW = {
    "✅ SUCCESS: ": messages.success,
    "⚠️ WARNING: ": messages.warning,
    "❌ ERROR: ": messages.error,
    "⚠️ RESUME: ": messages.resume,
}


class Follower:
    """Reads what is appended to a file.

    Args:
        path: the file; it need not exist yet.
        offset: where to begin, in bytes. A file that has become shorter is read from its beginning.
    """

    def __init__(self, path: Path, offset: int = 0) -> None:
        self.path, self._offset = path, offset

    def lines(self) -> list[bytes]:
        """The lines that were completed since the last call, without their ends."""
        try:
            with self.path.open("rb") as file:
                size = file.seek(0, 2)
                if size < self._offset:
                    self._offset = 0
                file.seek(self._offset)
                data = file.read(_MAX_READ_BYTES)
        except OSError:
            return []
        complete = data.rfind(b"\n") + 1
        if not complete and len(data) == _MAX_READ_BYTES:  # no line of anybody's is so long: pass over it
            complete = len(data)
        self._offset += complete
        return data[:complete].split(b"\n")[:-1]

    def events(self) -> list[dict[str, Any]]:
        """The same of a file of events; torn lines are passed over."""
        return [event for event in map(parse_event, self.lines()) if event is not None]

    def texts(self) -> list[str]:
        """The same of a text file; empty lines are left out."""
        return [text for line in self.lines() if (text := line.decode("utf-8", "replace").strip())]


def file_size(path: Path) -> int:
    """Bytes of a file; 0 if there is none."""
    try:
        return path.stat().st_size
    except OSError:
        return 0


def last_lines(path: Path, num_lines: int) -> list[str]:
    """The last lines of a text file, empty ones left out."""
    return Follower(path, max(0, file_size(path) - 2**16)).texts()[-num_lines:]


def relay(line: str, tag: str, screen: TextIO | None = None) -> None:
    """Print another process's line: as it is if it keeps the grammar, else as `[tag] line`.

    Args:
        line: the line; it is escaped.
        tag: of lines that have none.
        screen: where to; standard output by default.

    Raises:
        OSError: the screen is gone.
    """
    with contextlib.redirect_stdout(screen or sys.stdout):
        for prefix, show in _SHOW.items():
            if line.startswith(prefix):
                show(line[len(prefix) :])
                return
        found = _TAGGED.fullmatch(line)
        if found:
            messages.say(found[1], found[2])
        else:
            messages.say(tag, line)
