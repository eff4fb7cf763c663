"""What a run has cost so far: the one place where that is computed, from its folder alone.

Cost = sum over all attempts of (the attempt's hourly rate x its wall-clock hours). An attempt lasts from its first
event to its last sign of life, so loading the model, validation and measuring the effect are in it; the time between
attempts is not. The rate is what the attempt was started with (`hourly_rate`); one without has the newest known.
"""

from __future__ import annotations

import datetime
import mmap
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from weatherman.run.events import EVENTS_FILE, STATUS_FILE, parse_event
from weatherman.run.folder import RUN_FILE
from weatherman.system.atomic import read_json_object

_MAX_STATUS_BYTES, _MAX_RUN_BYTES = 2**16, 2**22
_MAX_RATE = 1e9
_START = b'"kind": "start"'  # as EventLog spells it; in a text its quotes would be escaped
_MAX_TORN_LINES = 20


@dataclass(frozen=True, slots=True)
class Spending:
    """Time and money of a run.

    Attributes:
        busy_s: seconds of all attempts together.
        dollars: rate x hours; None where no rate is known.
    """

    busy_s: float
    dollars: float | None

    @property
    def hourly_rate(self) -> float | None:
        """Dollars an hour, over all attempts; None where no rate is known, or no time has passed."""
        return self.dollars / self.busy_s * 3600 if self.dollars is not None and self.busy_s > 0 else None

    def in_words(self) -> str:
        """The cost with rate and hours: `$0.31 = $3.00 an hour x 0.10 hours`; empty where no rate is known."""
        return money(self.hourly_rate, self.busy_s / 3600) if self.hourly_rate is not None else ""


def money(hourly_rate: float, hours: float) -> str:
    """An amount as it is always printed, with its rate and its hours."""
    return f"${hourly_rate * hours:.2f} = ${hourly_rate:.2f} an hour x {hours:.2f} hours"


def attempt_spans(events: Iterable[dict[str, Any]]) -> dict[int, tuple[float, float]]:
    """First and last second of each attempt, seconds since the epoch, from its events."""
    spans: dict[int, tuple[float, float]] = {}
    for event in events:
        at, attempt = seconds_of(event.get("time")), event.get("attempt")
        if at is None:
            continue
        number = attempt if type(attempt) is int and 0 < attempt < 2**31 else 1
        begin, end = spans.get(number, (at, at))
        spans[number] = (min(begin, at), max(end, at))
    return spans


def read_spending(run_dir: Path, *, until_s: float | None = None) -> Spending:
    """What a run has cost.

    Args:
        run_dir: the run's folder.
        until_s: of a run that goes on, the present in seconds since the epoch; None counts to its last sign of life.

    Returns:
        Seconds and dollars; no seconds where nothing is recorded.
    """
    events = _landmarks(run_dir / EVENTS_FILE)
    spans, rates = attempt_spans(events), _rates(run_dir, events)
    last = max(spans, default=1)
    heard = [at for at in (_heartbeat_s(run_dir, last), until_s) if at is not None]
    if last in spans and heard:
        begin, end = spans[last]
        spans[last] = (begin, max(end, *heard))
    busy_s = {number: end - begin for number, (begin, end) in spans.items()}
    newest = rates[max(rates)] if rates else None
    dollars = None if newest is None else sum(rates.get(n, newest) * busy_s[n] / 3600 for n in busy_s)
    return Spending(sum(busy_s.values()), dollars)


def _landmarks(path: Path) -> list[dict[str, Any]]:
    """The first and the last event of each attempt: the lines at the file's ends and around each start.

    A run has hundreds of thousands of events and its status is asked for every few seconds, so the others are not read.
    """
    try:
        with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
            found = [_event_from(data, 0)]
            at = data.find(_START)
            while at >= 0:
                begin = data.rfind(b"\n", 0, at) + 1
                found += [_event_before(data, begin), _event_from(data, begin)]
                at = data.find(_START, at + 1)
            found.append(_event_before(data, len(data)))
    except (OSError, ValueError):  # ValueError: an empty file
        return []
    return [event for event in found if event is not None]


def _event_from(data: mmap.mmap, begin: int) -> dict[str, Any] | None:
    end = data.find(b"\n", begin)
    return parse_event(data[begin : end if end >= 0 else len(data)])


def _event_before(data: mmap.mmap, end: int) -> dict[str, Any] | None:
    """The last whole event that ends before `end`; torn lines are passed over, a few at most."""
    for _ in range(_MAX_TORN_LINES):
        if end <= 0:
            return None
        begin = data.rfind(b"\n", 0, end - 1) + 1
        if (event := parse_event(data[begin:end])) is not None:
            return event
        end = begin
    return None


def _rates(run_dir: Path, events: Iterable[dict[str, Any]]) -> dict[int, float]:
    """The hourly rate of each attempt that has one; that of `run.json` as attempt 0's."""
    given = [(event.get("attempt"), event.get("hourly_rate")) for event in events if event["kind"] == "start"]
    try:
        config = read_json_object(run_dir / RUN_FILE, _MAX_RUN_BYTES).get("config")
    except (OSError, ValueError):
        config = None
    if isinstance(config, dict):
        given.append((0, config.get("hourly_rate")))
    return {
        attempt: float(rate)
        for attempt, rate in given
        if isinstance(attempt, int) and isinstance(rate, (int, float)) and 0 < rate < _MAX_RATE
    }


def _heartbeat_s(run_dir: Path, attempt: int) -> float | None:
    """When `status.json` was last written by this attempt."""
    try:
        beat = read_json_object(run_dir / STATUS_FILE, _MAX_STATUS_BYTES)
    except (OSError, ValueError):
        return None
    return seconds_of(beat.get("updated_at")) if beat.get("attempt") == attempt else None


def seconds_of(text: Any) -> float | None:
    """A time of an event or a heartbeat, in seconds since the epoch; None if it is none."""
    try:
        return datetime.datetime.fromisoformat(str(text)).timestamp()
    except (ValueError, OverflowError):
        return None
