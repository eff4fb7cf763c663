"""A word now and then while nothing else is said, so that a watched start never looks like one that hangs."""

from __future__ import annotations

from dataclasses import dataclass

from weatherman.progress import format_duration

SILENCE_S = 15.0


@dataclass(slots=True)
class StillHere:
    """Knows when something was said last, and what is going on.

    Args:
        now_s: the present, on a clock that cannot be set.
        doing: what goes on at first.
    """

    now_s: float
    doing: str = "starting the trainer"
    _doing_since_s: float | None = None

    def said(self, now_s: float) -> None:
        """Something was printed."""
        self.now_s = now_s

    def does(self, doing: str, now_s: float) -> None:
        """Something else goes on from now."""
        self.doing, self._doing_since_s = doing, now_s

    def line(self, now_s: float) -> str:
        """What is to be said now; empty while the last line is young."""
        if self._doing_since_s is None:
            self._doing_since_s = self.now_s
        if now_s - self.now_s < SILENCE_S:
            return ""
        self.now_s = now_s
        return f"Still {self.doing} ({format_duration(now_s - self._doing_since_s)})"
