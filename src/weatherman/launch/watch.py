"""The first steps of a run, judged from its events: whether it computes, learns, and is as fast as planned."""

from __future__ import annotations

import datetime
import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from weatherman.errors import WeathermanError
from weatherman.progress import format_duration
from weatherman.run.spending import Spending, money

WATCHED_STEPS = 100
_MIN_SILENCE_S = 300.0
_UNPLANNED_SILENCE_S = 1800.0
_STEPS_OF_SILENCE = 20
_SETTLING_STEPS = 2  # kernels are compiled in the first ones
_JUDGED_STEPS = 20
_FAR_BELOW = 1 / 3
_LOSS_WINDOW = 5
_SIGNS_OF_LIFE = ("checkpoint", "validation", "tracker")
_EXPLODED_FACTOR, _EXPLODED_BY = 2.0, 2.0


@dataclass(frozen=True, slots=True)
class Expectation:
    """What the plan lets one expect.

    Attributes:
        silence_s: the longest time between two steps.
        tokens_per_s: the slowest throughput of the plan, in effective tokens; None where nothing is promised.
        num_steps: how many steps are watched.
    """

    silence_s: float = _UNPLANNED_SILENCE_S
    tokens_per_s: float | None = None
    num_steps: int = WATCHED_STEPS


def expect(slowest_s: float, num_steps: int, num_tokens: float, *, judge_speed: bool) -> Expectation:
    """Derive what to expect from a plan.

    Args:
        slowest_s: the longest time the run was planned to take.
        num_steps: in so many steps.
        num_tokens: for so many tokens that are trained on.
        judge_speed: whether the plan knows this machine well enough to say that it is too slow.
    """
    least_s = _MIN_SILENCE_S if judge_speed else _UNPLANNED_SILENCE_S
    silence_s = max(least_s, _STEPS_OF_SILENCE * slowest_s / max(1, num_steps))
    return Expectation(silence_s, num_tokens / slowest_s if judge_speed and slowest_s > 0 else None)


@dataclass(slots=True)
class Watch:
    """Judges a run from its events.

    Args:
        expected: what the plan lets one expect.
    """

    expected: Expectation
    losses: list[float] = field(default_factory=list)
    _tokens: list[int] = field(default_factory=list)
    _seconds: list[float] = field(default_factory=list)
    _stamps: list[datetime.datetime] = field(default_factory=list)
    _since_s: float | None = None
    _problem: WeathermanError | None = None

    def see(self, event: dict[str, Any], now_s: float) -> None:
        """Take in an event of the run.

        Args:
            event: the event.
            now_s: the present, on a clock that cannot be set.
        """
        kind = event["kind"]
        if kind in ("engine", "step") or (kind in _SIGNS_OF_LIFE and self._since_s is not None):
            self._since_s = now_s
        elif kind not in _SIGNS_OF_LIFE:  # reading, loading, measuring: the trainer says itself how long these may take
            self._since_s = None
        if kind == "start":
            self._stamps.clear()
        elif kind == "step":
            self._step(event)

    def _step(self, event: dict[str, Any]) -> None:
        loss, speed, tokens = event.get("loss"), event.get("tokens_per_s"), event.get("num_effective_tokens")
        if not isinstance(loss, (int, float)) or not math.isfinite(loss):
            text = f"the loss of step {event.get('step')} is {loss}."
            self._problem = WeathermanError("watch.loss", text, "lower the learning rate, and validate the data.")
            return
        self.losses.append(float(loss))
        if isinstance(speed, (int, float)) and speed > 0 and isinstance(tokens, int):
            self._tokens.append(tokens)
            self._seconds.append(tokens / speed)
        stamp = _time_of(event)
        if stamp:
            self._stamps.append(stamp)

    @property
    def num_steps(self) -> int:
        """Steps seen."""
        return len(self.losses)

    @property
    def complete(self) -> bool:
        """Whether enough steps were seen."""
        return self.num_steps >= self.expected.num_steps

    @property
    def tokens_per_s(self) -> float | None:
        """Measured effective tokens per second, without the first steps where there are others."""
        skip = _SETTLING_STEPS if len(self._seconds) > 2 * _SETTLING_STEPS else 0
        busy_s = sum(self._seconds[skip:])
        return sum(self._tokens[skip:]) / busy_s if busy_s else None

    @property
    def step_s(self) -> float | None:
        """Seconds from step to step on average, checkpoints and validation included."""
        if len(self._stamps) < 2:
            return None
        return max(0.0, (self._stamps[-1] - self._stamps[0]).total_seconds()) / (len(self._stamps) - 1)

    def problem(self, now_s: float) -> WeathermanError | None:
        """What is wrong, if anything."""
        if self._problem:
            return self._problem
        if self._since_s is not None and now_s - self._since_s > self.expected.silence_s:
            text = f"no step was completed for {format_duration(now_s - self._since_s)}"
            limit = f"the plan allows {format_duration(self.expected.silence_s)}"
            return WeathermanError("watch.silence", f"{text} ({limit}).", "look at the log and at the machine's load.")
        return self._explosion() or self._slowness()

    def _explosion(self) -> WeathermanError | None:
        if self.num_steps < 2 * _LOSS_WINDOW:
            return None
        medians = _medians(self.losses, _LOSS_WINDOW)
        best, now = min(medians), medians[-1]
        if now <= max(_EXPLODED_FACTOR * best, best + _EXPLODED_BY):
            return None
        text = f"the loss explodes: {now:.2f} over the last {_LOSS_WINDOW} steps, after {best:.2f}."
        return WeathermanError("watch.loss", text, "lower the learning rate, or raise warmup_ratio.")

    def _slowness(self) -> WeathermanError | None:
        planned, measured = self.expected.tokens_per_s, self.tokens_per_s
        if planned is None or measured is None or self.num_steps < _JUDGED_STEPS or measured >= _FAR_BELOW * planned:
            return None
        text = f"{measured:.0f} tokens/s are far below the plan, which has {planned:.0f} at the slowest."
        return WeathermanError("watch.slow", text, "see that nothing else uses the device (nvidia-smi, or a hot Mac).")


def _medians(values: Sequence[float], size: int) -> list[float]:
    return [statistics.median(values[begin : begin + size]) for begin in range(len(values) - size + 1)]


def _time_of(event: dict[str, Any]) -> datetime.datetime | None:
    try:
        return datetime.datetime.strptime(str(event.get("time")), "%Y-%m-%dT%H:%M:%S.%f%z")
    except ValueError:
        return None


def measured_lines(watch: Watch, num_left: int, spending: Spending, now: datetime.datetime) -> list[str]:
    """Say what was measured: throughput, time left, and the cost as rate x hours.

    Args:
        watch: the steps that were seen.
        num_left: steps that are left.
        spending: time and money of the run so far.
        now: the present, for the time of day.
    """
    step_s, speed = watch.step_s, watch.tokens_per_s
    if step_s is None or speed is None:
        return []
    left_s = num_left * step_s
    end = now + datetime.timedelta(seconds=left_s)
    lines = [f"Measured {speed:,.0f} tokens/s over {watch.num_steps} steps, {step_s:.2f} s a step"]
    if num_left:
        time_of_day = f"{end:%Y-%m-%d %H:%M} {end.tzname()}"
        lines.append(f"{num_left:,} steps are left: about {format_duration(left_s)}, until {time_of_day}")
    if spending.hourly_rate is not None:
        lines.append(f"Cost of this run so far: {spending.in_words()}")
        if num_left:
            hours = (spending.busy_s + left_s) / 3600
            lines.append(f"Cost up to its last step: about {money(spending.hourly_rate, hours)}")
    return lines
