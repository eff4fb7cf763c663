"""Every line that a person or an agent reads: tags, verdicts, colour, escaping and redaction.

The grammar (one line each, see docs/AGENTS.md): ``[TAG] text``, ``✅ SUCCESS: text``, ``⚠️ WARNING: text``,
``❌ ERROR: text``, ``⚠️ RESUME: text``. Text from outside is escaped, so that it can neither move the cursor nor
forge a line, and secrets found in the environment never reach a line.
"""

from __future__ import annotations

import contextlib
import errno
import io
import os
import re
import sys
import unicodedata
from typing import Any, TextIO

from weatherman.errors import Problems, WeathermanError

TAGS = (
    "SETUP-H100",
    "TRAINING-H100",
    "TRAINING-H100-COMPLETE",
    "SETUP-M4",
    "TRAINING-M4",
    "TRAINING-M4-COMPLETE",
    "SETUP-DEMO",
    "TRAINING-DEMO",
    "TRAINING-DEMO-COMPLETE",
    "PREFLIGHT",
    "DATA",
    "PLAN",
    "STATUS",
    "EXPORT",
    "TEMPLATE",
)
_VERDICTS = {
    "success": ("✅ SUCCESS:", "32"),
    "warning": ("⚠️ WARNING:", "33"),
    "error": ("❌ ERROR:", "31"),
    "resume": ("⚠️ RESUME:", "33"),
}
LINE = re.compile(r"^(\[(?:" + "|".join(TAGS) + r")\] |✅ SUCCESS: |⚠️ WARNING: |❌ ERROR: |⚠️ RESUME: )\S")

_SECRET_NAME = re.compile(r"(TOKEN|API_?KEY|SECRET|PASSWORD|PASSWD|CREDENTIAL|WEBHOOK)", re.IGNORECASE)
_SECRET_SHAPE = re.compile(r"\b(hf_[A-Za-z0-9]{16,}|sk-[A-Za-z0-9_-]{16,})\b")
_MIN_SECRET_LENGTH = 8
_GONE = (errno.EIO, errno.ENOSPC, errno.EDQUOT, errno.ENXIO)  # a closed terminal, a full disk
_UNSAFE_CATEGORIES = ("Cc", "Cf", "Cs", "Co", "Zl", "Zp")


def redact(text: str) -> str:
    """Replace secrets (values of secret-looking environment variables, hub tokens) by ``[redacted]``."""
    for name, value in os.environ.items():
        if len(value) >= _MIN_SECRET_LENGTH and _SECRET_NAME.search(name) and value in text:
            text = text.replace(value, "[redacted]")
    return _SECRET_SHAPE.sub("[redacted]", text)


def escape(text: object) -> str:
    """Make outside text safe to print on one line: control, format and line-separating characters become escapes."""
    safe = []
    for char in str(text):
        if unicodedata.category(char) not in _UNSAFE_CATEGORIES:
            safe.append(char)
        else:
            safe.append(char.encode("unicode_escape").decode("ascii"))
    return "".join(safe)


def _colour(stream: TextIO) -> bool:
    return stream.isatty() and not os.environ.get("NO_COLOR")


def _print(prefix: str, colour: str, text: str, stream: TextIO | None = None) -> None:
    stream = stream or sys.stdout
    line = redact(escape(text))
    if colour and _colour(stream):
        prefix = f"\033[{colour}m{prefix}\033[0m"
    print(f"{prefix} {line}", file=stream, flush=True)


class _Lasting(io.RawIOBase):
    """A descriptor to write to; what can no longer be written anywhere is dropped."""

    def __init__(self, fd: int) -> None:
        self._fd = fd

    def fileno(self) -> int:
        return self._fd

    def isatty(self) -> bool:
        return os.isatty(self._fd)

    def writable(self) -> bool:
        return True

    def write(self, data: Any) -> int:
        try:
            return os.write(self._fd, data)
        except OSError as problem:
            if problem.errno not in _GONE:
                raise
            return len(data)


def lasting(stream: TextIO) -> TextIO:
    """The same stream, which must stay open, but writing to it never fails for want of a terminal or of space.

    Raises:
        OSError: it is no file.
    """
    raw = io.BufferedWriter(_Lasting(stream.fileno()))
    stream.flush()
    return io.TextIOWrapper(raw, stream.encoding, stream.errors, line_buffering=True)


def outlast_the_output() -> None:
    """From here on a terminal that closes, or a log on a full disk, loses lines and never stops this process."""
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        with contextlib.suppress(OSError, ValueError):  # a stream that is no file (a test's) has no such end
            setattr(sys, name, lasting(stream))


def say(tag: str, text: str) -> None:
    """Print ``[TAG] text``."""
    if tag not in TAGS:
        raise ValueError(f"unknown tag {tag!r}")
    _print(f"[{tag}]", "1", text)


def success(text: str) -> None:
    """Print a success line (green on a terminal)."""
    _print(*_VERDICTS["success"], text)


def warning(text: str) -> None:
    """Print a warning line (yellow on a terminal)."""
    _print(*_VERDICTS["warning"], text)


def resume(text: str) -> None:
    """Print a resume line (yellow on a terminal)."""
    _print(*_VERDICTS["resume"], text)


def error(problem: WeathermanError | str) -> None:
    """Print an error line (red on a terminal); several problems are printed one a line."""
    if isinstance(problem, Problems):
        for one in problem.problems:
            error(one)
    _print(*_VERDICTS["error"], str(problem))
