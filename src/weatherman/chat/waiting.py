"""A sign of life on a terminal while a model is loaded or thinks; nothing at all elsewhere."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Protocol

from weatherman.chat.tool_use import ToolOutcome


class Hearer(Protocol):
    """Hears an answer while it is made."""

    def text(self, text: str) -> None:
        """A further piece of the answer's text."""

    def called(self, outcome: ToolOutcome) -> None:
        """A tool call and what came of it."""


class Spinner:
    """A turning mark with a word on standard error, which leaves no trace; silent where that is no terminal.

    Args:
        word: what is going on.
    """

    def __init__(self, word: str) -> None:
        self._word = word
        self._status: Any = None

    def start(self) -> None:
        """Show it."""
        if self._status is None and sys.stderr.isatty():
            from rich.console import Console
            from rich.status import Status

            self._status = Status(self._word, console=Console(stderr=True))
            self._status.start()

    def stop(self) -> None:
        """Take it away."""
        if self._status is not None:
            self._status.stop()
            self._status = None


@contextmanager
def waiting(word: str) -> Iterator[None]:
    """Show that something goes on.

    Args:
        word: what.
    """
    spinner = Spinner(word)
    spinner.start()
    try:
        yield
    finally:
        spinner.stop()


@contextmanager
def thinking(hearer: Hearer) -> Iterator[Hearer]:
    """Show that the model thinks: until the first piece of text, and again after each tool call.

    Args:
        hearer: hears the answer.

    Yields:
        What is to hear the answer instead.
    """
    spinner = Spinner("thinking")
    spinner.start()
    try:
        yield _Thinking(hearer, spinner)
    finally:
        spinner.stop()


class _Thinking:
    def __init__(self, hearer: Hearer, spinner: Spinner) -> None:
        self._hearer, self._spinner = hearer, spinner

    def text(self, text: str) -> None:
        """A further piece of the answer's text."""
        self._spinner.stop()
        self._hearer.text(text)

    def called(self, outcome: ToolOutcome) -> None:
        """A tool call and what came of it."""
        self._spinner.stop()
        self._hearer.called(outcome)
        self._spinner.start()
