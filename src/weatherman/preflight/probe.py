"""How preflight asks the machine: few questions, each answered within seconds, none that raises. Tests replace it."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import threading
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, TypeVar

_RUN_TIMEOUT_S = 20.0
_HTTP_TIMEOUT_S = 5.0
NETWORK_LIMIT_S = 8.0

Answer = TypeVar("Answer")


@dataclass(frozen=True, slots=True)
class Output:
    """What a program answered: its exit code and its standard output and error together."""

    code: int
    text: str


class Probe(Protocol):
    """The machine, as the checks see it."""

    @property
    def environ(self) -> Mapping[str, str]:
        """The environment's variables."""

    @property
    def python_version(self) -> tuple[int, int, int]:
        """The version of the interpreter that trains."""

    def which(self, program: str) -> str | None:
        """Where a program is, None if it is not on PATH."""

    def run(self, command: Sequence[str], timeout_s: float = _RUN_TIMEOUT_S) -> Output | None:
        """Run a program; None if it is missing, cannot be started, or does not end in time."""

    def free_bytes(self, path: Path) -> int | None:
        """Free space where `path` is or would be made; None if that cannot be read."""

    def volume(self, path: Path) -> str:
        """Names the volume that `path` is or would be made on; the same for all paths on it."""

    def http_status(self, url: str, token: str | None = None) -> int | None:
        """The status of a HEAD request, redirects not followed; None if no answer came within seconds."""


class SystemProbe:
    """The machine that this runs on."""

    @property
    def environ(self) -> Mapping[str, str]:
        """The environment's variables."""
        return os.environ

    @property
    def python_version(self) -> tuple[int, int, int]:
        """The version of this interpreter."""
        return sys.version_info[:3]

    def which(self, program: str) -> str | None:
        """Where a program is on PATH."""
        return shutil.which(program)

    def run(self, command: Sequence[str], timeout_s: float = _RUN_TIMEOUT_S) -> Output | None:
        """Run a program without input."""
        try:
            done = subprocess.run(
                list(command),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                timeout=timeout_s,
                check=False,
            )
        except (OSError, ValueError, subprocess.TimeoutExpired):
            return None
        return Output(done.returncode, done.stdout.decode("utf-8", "replace"))

    def free_bytes(self, path: Path) -> int | None:
        """Free space for this user, at the nearest folder that exists."""
        try:
            return shutil.disk_usage(_nearest(path)).free
        except OSError:
            return None

    def volume(self, path: Path) -> str:
        """The device's number."""
        try:
            return str(_nearest(path).stat().st_dev)
        except OSError:
            return str(path)

    def http_status(self, url: str, token: str | None = None) -> int | None:
        """Ask with HEAD; the token goes into a header and nowhere else."""
        return within(NETWORK_LIMIT_S, lambda: self._head(url, token))

    def _head(self, url: str, token: str | None) -> int | None:
        opener = urllib.request.build_opener(_NoRedirect)
        try:
            request = urllib.request.Request(url, method="HEAD")
            if token:
                request.add_header("Authorization", f"Bearer {token}")
            with opener.open(request, timeout=_HTTP_TIMEOUT_S) as answer:
                return int(answer.status)
        except urllib.error.HTTPError as problem:
            return problem.code
        except (OSError, ValueError):
            return None


def within(limit_s: float, ask: Callable[[], Answer]) -> Answer | None:
    """Ask in a thread of its own and wait so long at most: name servers that do not answer have no time limit.

    Args:
        limit_s: seconds.
        ask: the question; left to itself when the time is over.

    Returns:
        The answer, None if it did not come.
    """
    answers: list[Answer] = []
    thread = threading.Thread(target=lambda: answers.append(ask()), daemon=True)
    thread.start()
    thread.join(limit_s)
    return answers[0] if answers else None


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    """A redirect is an answer; following it could carry the token to another host."""

    def redirect_request(self, *args: object, **kwargs: object) -> None:
        """Follow nothing."""


def _nearest(path: Path) -> Path:
    path = path.expanduser().absolute()
    while not path.exists() and path != path.parent:
        path = path.parent
    return path
