"""How a run shows that it moves: a live bar on a terminal, one plain line every few steps otherwise."""

from __future__ import annotations

import sys
import time
from types import TracebackType
from typing import Any

from weatherman import messages


def format_duration(seconds: float) -> str:
    """Seconds as people say them: `45 s`, `12 min`, `3 h 20 min`."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 90 else f"{minutes // 60} h {minutes % 60:02d} min"


class Pace:
    """Throughput of this attempt: effective tokens per second and the time left, from the steps seen so far.

    Args:
        first_step: the first step of this attempt.
        last_step: the run's last step.
    """

    def __init__(self, first_step: int, last_step: int) -> None:
        self._first_step, self._last_step = first_step, last_step
        self._num_tokens = self._num_steps = 0
        self._busy_s = 0.0
        self.last_tokens_per_s = 0.0

    def add(self, num_tokens: int, seconds: float) -> None:
        """Count one step."""
        self._num_tokens += num_tokens
        self._num_steps += 1
        self._busy_s += seconds
        self.last_tokens_per_s = num_tokens / seconds if seconds > 0 else 0.0

    def end_at(self, last_step: int) -> None:
        """The run's last step is another one."""
        self._last_step = last_step

    @property
    def num_steps(self) -> int:
        """Steps of this attempt."""
        return self._num_steps

    @property
    def tokens_per_s(self) -> float:
        """Effective tokens per second."""
        return self._num_tokens / self._busy_s if self._busy_s else 0.0

    @property
    def mean_step_s(self) -> float:
        """Seconds of a step, on average."""
        return self._busy_s / self._num_steps if self._num_steps else 0.0

    @property
    def eta_s(self) -> float:
        """Seconds to the last step."""
        left = self._last_step - (self._first_step - 1) - self._num_steps
        return left * self.mean_step_s


class ProgressDisplay:
    """Shows steps: `with ProgressDisplay(...) as show: show.step(...)`."""

    def __init__(self, tag: str, total_steps: int, first_step: int, logging_steps: int) -> None:
        self._tag, self._total, self._every = tag, total_steps, logging_steps
        self._done = first_step - 1
        self._bar: Any = None
        self._started_s = time.monotonic()

    def __enter__(self) -> ProgressDisplay:
        if sys.stderr.isatty():
            from rich.console import Console
            from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

            self._bar = Progress(
                TextColumn("[bold]training"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(),
                TextColumn("{task.fields[text]}"), console=Console(stderr=True), transient=True,
            )  # fmt: skip
            self._bar.start()
            self._task = self._bar.add_task("training", total=self._total, completed=self._done, text="")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._bar:
            self._bar.stop()

    def end_at(self, last_step: int) -> None:
        """The run's last step is another one."""
        self._total = last_step
        if self._bar:
            self._bar.update(self._task, total=last_step)

    def step(self, step: int, loss: float, pace: Pace) -> None:
        """Show one finished step."""
        text = f"loss {loss:.3f} · {pace.tokens_per_s:.0f} tokens/s · {format_duration(pace.eta_s)} left"
        if self._bar:
            self._bar.update(self._task, completed=step, text=text)
        elif step % self._every == 0 or step == self._total:
            messages.say(self._tag, f"step {step}/{self._total} · {text}")
