"""Experiment trackers behind one small face. A tracker's failure never stops a run.

The run's own record is `events.jsonl`; a tracker is a copy of it for people.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Protocol

from weatherman import messages
from weatherman.errors import EXIT_FAILED
from weatherman.run.stop import StopNow, StopRequest
from weatherman.run.trackers import OPENERS, Opened, Rows, Wanted, install_advice, missing_package

CHECKED_VARIABLE = "WEATHERMAN_CHECKED"  # set by the launcher: preflight has told already what is missing
_LOG_PATIENCE_S = 60.0
_FINISH_PATIENCE_S = 120.0
_LEAVING_PATIENCE_S = 3.0


class Tracker(Protocol):
    """Where metrics go."""

    @property
    def url(self) -> str | None:
        """The run's page, if there is one."""

    @property
    def command(self) -> str | None:
        """What shows this run beside the others, if a command does."""

    def log(self, step: int, metrics: dict[str, float]) -> None:
        """Send one step's metrics."""

    def log_table(self, step: int, name: str, rows: Rows) -> None:
        """Send rows of text, by column."""

    def finish(self, exit_code: int, *, at_once: bool = False) -> None:
        """Close the run; `at_once` waits for seconds only."""


class NoTracker:
    """Sends nothing anywhere."""

    url: str | None = None
    command: str | None = None

    def log(self, step: int, metrics: dict[str, float]) -> None:
        """Do nothing."""

    def log_table(self, step: int, name: str, rows: Rows) -> None:
        """Do nothing."""

    def finish(self, exit_code: int, *, at_once: bool = False) -> None:
        """Do nothing."""


class GuardedTracker:
    """Wraps a tracker's calls: the first failure is told, and the tracker is left alone from then on."""

    def __init__(self, opened: Opened) -> None:
        self.url, self.command = opened.url, opened.command
        self._opened, self._broken = opened, False

    def log(self, step: int, metrics: dict[str, float]) -> None:
        """Send one step's metrics."""
        self._guard(lambda: self._opened.log(step, metrics), _LOG_PATIENCE_S)

    def log_table(self, step: int, name: str, rows: Rows) -> None:
        """Send rows of text, by column; nothing where there are none."""
        if rows:
            self._guard(lambda: self._opened.log_table(step, name, rows), _LOG_PATIENCE_S)

    def finish(self, exit_code: int, *, at_once: bool = False) -> None:
        """Close the run; what a lost server has not taken by then stays behind."""
        self._guard(lambda: self._opened.finish(exit_code), _LEAVING_PATIENCE_S if at_once else _FINISH_PATIENCE_S)

    def _guard(self, call: Callable[[], Any], patience_s: float) -> None:
        if self._broken:
            return
        problems: list[BaseException] = []

        def work() -> None:
            try:
                call()
            except Exception as problem:  # a tracker is somebody else's code: whatever it throws must not stop training
                problems.append(problem)

        # In a thread, since it may also wait for ever for a server that went away.
        worker = threading.Thread(target=work, name="tracker", daemon=True)
        worker.start()
        worker.join(patience_s)
        if worker.is_alive():
            problems.append(TimeoutError(f"no answer for {patience_s:.0f} s"))
        if problems:
            self._broken = True
            messages.warning(
                f"{self._opened.name} failed ({problems[0]}); training goes on, events.jsonl has every metric."
            )


def usable_tracker(kind: str) -> str:
    """The tracker that can be used; where its package is missing, say so and use none.

    Args:
        kind: a value of `report_to`.

    Returns:
        `kind`, or "none".
    """
    missing = missing_package(kind)
    if missing is None:
        return kind
    if not os.environ.get(CHECKED_VARIABLE):
        messages.warning(f"{missing}. Hint: {install_advice(kind)}")
    return "none"


def start_tracker(kind: str, wanted: Wanted) -> Tracker:
    """Open a tracker; the same `run_id` continues the same run after a resume.

    Args:
        kind: "wandb", "trackio", "tensorboard" or "none".
        wanted: what it is told of the run.

    Returns:
        The tracker; `NoTracker` with a warning if it cannot be opened.
    """
    if kind not in OPENERS:
        return NoTracker()
    try:
        opened = OPENERS[kind](wanted)
    except Exception as problem:  # refused key, broken server, broken package: none of it may stop the run
        messages.warning(f"{kind} could not start ({problem}); training goes on, events.jsonl has every metric.")
        return NoTracker()
    return GuardedTracker(opened) if opened else NoTracker()


@contextmanager
def closing(tracker: Tracker, stop: StopRequest) -> Iterator[Tracker]:
    """Close a tracker with the run's exit code, however the run ends."""
    try:
        yield tracker
    except StopNow as asked:
        tracker.finish(asked.exit_code, at_once=True)
        raise
    except BaseException:
        tracker.finish(EXIT_FAILED)
        raise
    tracker.finish(stop.exit_code)
