"""Signals that ask a run to stop: the first lets the step at hand end, the second leaves at once."""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from queue import SimpleQueue
from types import FrameType

EXIT_CODES = {signal.SIGHUP: 129, signal.SIGINT: 130, signal.SIGTERM: 143}


class StopNow(KeyboardInterrupt):
    """The process is to leave at once.

    Attributes:
        exit_code: that of the first signal.
    """

    def __init__(self, exit_code: int) -> None:
        super().__init__("stopped by a signal")
        self.exit_code = exit_code


class GivenUpError(Exception):
    """Work that can be given up, such as a validation, ends here: somebody asked the run to stop."""


class StopRequest:
    """What SIGTERM, SIGINT and SIGHUP asked for.

    Outside `finishing_the_step` a signal raises `StopNow` where it arrives: there is nothing to save. Inside, the
    first one only sets `exit_code`, and the loop saves and leaves; the second one raises `StopNow`.

    Attributes:
        exit_code: of the first signal, 128 + its number; 0 while nobody asked.
    """

    def __init__(self) -> None:
        self.exit_code = 0
        self._waits = self._leaving = False
        self._asked: SimpleQueue[str | None] = SimpleQueue()  # its put may interrupt itself, as a signal does

    def install(self) -> None:
        """Take over the signals; one that the parent ignores (nohup) stays ignored."""
        for number in EXIT_CODES:
            if signal.getsignal(number) is not signal.SIG_IGN:
                signal.signal(number, self._ask)

    def _ask(self, number: int, frame: FrameType | None) -> None:
        if self._leaving:
            return
        now = bool(self.exit_code) or not self._waits
        self.exit_code = self.exit_code or EXIT_CODES[signal.Signals(number)]
        if now:
            self._leaving = True
            raise StopNow(self.exit_code)
        self._asked.put(signal.Signals(number).name)

    @contextmanager
    def finishing_the_step(self, tell: Callable[[str], None]) -> Iterator[None]:
        """Let the first signal wait for the loop to see it.

        Args:
            tell: called at once with the signal's name, in a thread of its own: what the signal interrupted may be
                in the midst of writing the same file.
        """

        def watch() -> None:
            while (name := self._asked.get()) is not None:
                tell(name)

        watcher = threading.Thread(target=watch, name="stop", daemon=True)
        watcher.start()
        self._waits = True
        try:
            yield
        finally:
            self._waits = False
            self._asked.put(None)
            watcher.join()

    def give_up_if_asked(self, *_: object) -> None:
        """Raise GivenUpError if somebody asked; fits as a progress callback."""
        if self.exit_code:
            raise GivenUpError


def leave(exit_code: int) -> int:
    """End with this code: at once where a worker thread still computes, else by returning it."""
    others = [thread for thread in threading.enumerate() if thread is not threading.main_thread() and not thread.daemon]
    if others:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(exit_code)
    return exit_code
