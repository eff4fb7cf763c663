"""What a run's folder tells for its report; whatever is missing, torn or of a wrong type counts as absent."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from weatherman.effect.effect import Effect, read_effects
from weatherman.run.events import EVENTS_FILE, read_events
from weatherman.run.folder import RUN_FILE
from weatherman.run.spending import Spending, attempt_spans, seconds_of
from weatherman.run.status import read_status
from weatherman.system.atomic import read_json_object

_MAX_BYTES = 2**22
_STEP_FIELDS = ("loss", "learning_rate", "grad_norm", "tokens_per_s", "peak_memory_bytes")
_SHOWN_KINDS = {
    "start", "resume", "quarantine", "validation", "checkpoint", "stop", "failure", "crash-loop", "finish",
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Moment:
    """Something that happened: `kind` is the event's, `at` seconds since the epoch."""

    at: float
    attempt: int
    kind: str
    text: str


@dataclass
class RunData:
    """A run, as its report needs it.

    Attributes:
        name: for people.
        folder: the name of its folder.
        state: what the run is doing or how it ended.
        run: `run.json`.
        steps: by step number, the fields of its last execution that are finite numbers.
        validation: (step, loss).
        moments: what happened, in order.
        spans: first and last second of each attempt.
        spending: time and money.
        resumed_steps: the steps after which an attempt went on.
        num_tokens: effective tokens of all steps executed, repeated ones included.
        effects: "before" and "after".
    """

    name: str
    state: str
    folder: str = ""
    run: dict[str, Any] = field(default_factory=dict)
    steps: dict[int, dict[str, float]] = field(default_factory=dict)
    validation: list[tuple[int, float]] = field(default_factory=list)
    moments: list[Moment] = field(default_factory=list)
    spans: dict[int, tuple[float, float]] = field(default_factory=dict)
    spending: Spending = field(default_factory=lambda: Spending(0.0, None))
    resumed_steps: list[int] = field(default_factory=list)
    num_tokens: int = 0
    effects: dict[str, Effect] = field(default_factory=dict)

    @property
    def config(self) -> dict[str, Any]:
        """The resolved configuration."""
        return _object(self.run.get("config"))

    @property
    def validation_points(self) -> list[tuple[float, float]]:
        """The validation losses: before training, on the way, and at the end."""
        found = {float(step): loss for step, loss in self.validation}
        if before := self.effects.get("before"):
            found[0.0] = before.validation_loss
        if (after := self.effects.get("after")) and self.steps:
            found[float(max(self.steps))] = after.validation_loss
        return sorted((step, loss) for step, loss in found.items() if finite(loss) is not None)

    @property
    def median_tokens_per_s(self) -> float | None:
        """Effective tokens per second of the median step."""
        speeds = sorted(value for _, value in self.series("tokens_per_s"))
        return speeds[len(speeds) // 2] if speeds else None

    @property
    def peak_bytes(self) -> float | None:
        """The highest memory of any step."""
        return max((value for _, value in self.series("peak_memory_bytes")), default=None)

    @property
    def data_hash(self) -> str:
        """SHA-256 of the training file; empty where it is not known."""
        return str(_object(self.run.get("frozen")).get("data") or "")

    def series(self, name: str) -> list[tuple[float, float]]:
        """A field over the steps."""
        return [(float(step), values[name]) for step, values in sorted(self.steps.items()) if name in values]


def read_run(run_dir: Path) -> RunData:
    """Read a run's folder.

    Raises:
        WeathermanError: it holds no run.
    """
    status = read_status(run_dir)
    try:
        run = read_json_object(run_dir / RUN_FILE, _MAX_BYTES)
    except (OSError, ValueError):
        run = {}
    data = RunData(name=run_dir.resolve().name, state=status.state, folder=run_dir.resolve().name, run=run)
    data.spending = Spending(status.busy_s, status.cost_so_far)
    events = list(read_events(run_dir / EVENTS_FILE))
    data.spans = attempt_spans(events)
    for event in events:
        _take(data, event)
    data.effects = read_effects(run_dir)
    name = data.config.get("run_name")
    if isinstance(name, str) and name:
        data.name = name
    return data


def _take(data: RunData, event: dict[str, Any]) -> None:
    at, attempt, kind = seconds_of(event.get("time")), _whole(event.get("attempt")) or 1, str(event["kind"])
    step = _whole(event.get("step"))
    if kind == "step" and step is not None:
        numbers = {name: finite(event.get(name)) for name in _STEP_FIELDS}
        data.steps[step] = {name: number for name, number in numbers.items() if number is not None}
        data.num_tokens += _whole(event.get("num_effective_tokens")) or 0
    elif kind == "validation" and step is not None and (loss := finite(event.get("loss"))) is not None:
        data.validation.append((step, loss))
    elif kind == "resume" and step is not None:
        data.resumed_steps.append(step)
    if at is not None and kind in _SHOWN_KINDS:
        data.moments.append(Moment(at, attempt, kind, _told(kind, event, step)))


def _told(kind: str, event: dict[str, Any], step: int | None) -> str:
    """An event in words."""
    seconds, loss = finite(event.get("seconds")), finite(event.get("loss"))
    words = {
        "start": f"attempt {event.get('attempt')} begins",
        "resume": f"goes on after step {step}",
        "quarantine": f"{event.get('name')} set aside: {event.get('reason')}",
        "validation": f"validation loss {loss:.4f} after step {step}" if loss is not None else "validation",
        "checkpoint": f"{event.get('name')} saved" + (f" in {seconds:.1f} s" if seconds is not None else ""),
        "stop": f"stopped on request after step {step}, exit code {event.get('exit_code')}",
        "failure": f"failed ({event.get('code')}): {event.get('message')}",
        "crash-loop": f"crash loop: {event.get('message')}",
        "finish": f"finished after step {step}",
    }
    return words[kind]


def finite(value: Any) -> float | None:
    """A number that a chart can draw; None for anything else, such as NaN or what would overflow on the way."""
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return None
    return float(value) if abs(value) < 1e300 and math.isfinite(value) else None


def _whole(value: Any) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) and abs(value) < 2**53 else None


def _object(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}
