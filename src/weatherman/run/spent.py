"""How long a run has worked: the time of all its attempts, read from its events."""

from __future__ import annotations

import datetime
from pathlib import Path
from typing import Any

from weatherman.run.events import EVENTS_FILE, read_events


def attempts_s(output_dir: Path, *, before_attempt: int | None = None) -> float:
    """Seconds that a run's attempts took, each from its first event to its last.

    Args:
        output_dir: the run's folder.
        before_attempt: count only earlier ones; None counts all.

    Returns:
        The sum; the time between attempts does not count.
    """
    spans: dict[int, tuple[float, float]] = {}
    for event in read_events(output_dir / EVENTS_FILE):
        attempt, time_s = event.get("attempt"), _seconds(event.get("time"))
        if type(attempt) is not int or time_s is None or (before_attempt is not None and attempt >= before_attempt):
            continue
        first, last = spans.get(attempt, (time_s, time_s))
        spans[attempt] = min(first, time_s), max(last, time_s)
    return sum(last - first for first, last in spans.values())


def _seconds(text: Any) -> float | None:
    try:
        return datetime.datetime.fromisoformat(str(text).replace("Z", "+00:00")).timestamp()
    except ValueError:
        return None
