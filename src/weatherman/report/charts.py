"""Charts as inline SVG: no script, no font, no picture from elsewhere; colours come from the page's style."""

from __future__ import annotations

import bisect
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from html import escape
from typing import Any

from weatherman.messages import redact
from weatherman.report.run_data import Moment

Points = Sequence[tuple[float, float]]
Format = Callable[[float], str]

WIDTH, HEIGHT = 380, 224
NUM_COLOURS = 8  # of page.css
_LEFT, _RIGHT, _TOP, _BOTTOM = 52, 10, 22, 36
_MAX_POINTS = 300
_MAX_READOUTS, _MAX_READOUT_CHARS = 80, 58
_NUM_TICKS = 4
_SMOOTHED_SHARE = 0.06
# Floats carry some sixteen digits. What differs only beyond the eleventh has no round values in between.
_SMALLEST_SHARE = 1e-11
_SMALLEST_SIZE = 1e-300


@dataclass(frozen=True, slots=True)
class Scale:
    """A linear map from values to pixels."""

    low: float
    high: float
    begin: float
    end: float

    def __call__(self, value: float) -> float:
        """The pixel of a value."""
        return self.begin + (value - self.low) / (self.high - self.low) * (self.end - self.begin)


def safe(value: Any) -> str:
    """Any value as text that is safe in HTML, without secrets and control characters."""
    text = "".join(c if c in "\n\t" or c.isprintable() else "\ufffd" for c in redact(str(value)))
    return escape(text, quote=True)


@dataclass(frozen=True, slots=True)
class Line:
    """A line of a chart.

    Attributes:
        name: what a reader sees of it when pointing at it.
        points: (step, value).
        colour: which of the style's colours, from 0.
        smooth: draw the moving mean boldly over the faint line.
    """

    name: str
    points: Points
    colour: int = 0
    smooth: bool = False

    @property
    def drawn(self) -> list[tuple[float, float]]:
        """The points that the bold line goes through."""
        line = thin_out(self.points)
        return moving_mean(line) if self.is_smoothed else line

    @property
    def is_smoothed(self) -> bool:
        """Whether there are enough points for a mean."""
        return self.smooth and len(self.points) > 3


def chart(
    title: str,
    lines: Sequence[Line],
    show: Format,
    *,
    dots: Points = (),
    marks: Sequence[float] = (),
    from_zero: bool = False,
) -> str:
    """Lines over the steps; pointing at a step shows its values, without a script.

    Args:
        title: for people and for screen readers.
        lines: what is drawn.
        show: spells a value.
        dots: single measurements on the same scale.
        marks: steps at which an attempt went on; dashed lines.
        from_zero: the value axis begins at zero.

    Returns:
        SVG; a sentence where there is nothing to draw.
    """
    lines = [line for line in lines if line.points]
    if not lines and not dots:
        return '<p class="none">not recorded</p>'
    xs, ys = zip(*[point for line in lines for point in thin_out(line.points)], *dots, strict=True)
    ticks = nice_ticks(0.0 if from_zero else min(ys), max(ys))
    x = Scale(*_widened(min(xs), max(xs)), _LEFT, WIDTH - _RIGHT)
    y = Scale(*_widened(min(ticks[0], *ys), max(ticks[-1], *ys)), HEIGHT - _BOTTOM, _TOP)
    parts = [_grid(ticks, y, show), _steps_axis(xs, x)]
    parts += [f'<path class="mark" d="M{x(at):.1f} {_TOP}V{HEIGHT - _BOTTOM}"/>' for at in marks]
    for line in lines:
        colour = f"c{line.colour % NUM_COLOURS}"
        if line.is_smoothed:
            parts.append(_path(thin_out(line.points), x, y, f"line faint {colour}"))
        parts.append(_path(line.drawn, x, y, f"line {colour}"))
    parts += [f'<circle class="dot" cx="{x(at):.1f}" cy="{y(value):.1f}" r="3.5"/>' for at, value in dots]
    parts.append(readouts(lines, dots, show, x, y))
    label = safe(title)
    return f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{label}">{"".join(parts)}</svg>'


def readouts(lines: Sequence[Line], dots: Points, show: Format, x: Scale, y: Scale) -> str:
    """Columns over a chart: the one that is pointed at shows its step and values, as a tooltip and above the chart."""
    points = {line.name: dict(line.drawn) for line in lines}
    steps = sorted({at for values in points.values() for at in values} | {at for at, _ in dots})
    steps = steps[:: math.ceil(len(steps) / _MAX_READOUTS)] if len(steps) > _MAX_READOUTS else steps
    parts = []
    for index, at in enumerate(steps):
        begin = x.begin if index == 0 else (x(steps[index - 1]) + x(at)) / 2
        end = x.end if index == len(steps) - 1 else (x(at) + x(steps[index + 1])) / 2
        told = [(line.name, value) for line in lines if (value := nearest(line.drawn, at)) is not None]
        told += [("measured", value) for step, value in dots if step == at]
        text = safe(f"step {round(at):,}: " + ", ".join(f"{name} {show(value)}" for name, value in told))
        values = safe(f"step {round(at):,}: " + " · ".join(show(value) for _, value in told))
        shown = text if len(text) <= _MAX_READOUT_CHARS else values
        circles = "".join(f'<circle cx="{x(at):.1f}" cy="{y(value):.1f}" r="3"/>' for _, value in told)
        parts.append(
            f'<g class="hit"><rect x="{begin:.1f}" y="0" width="{max(0.5, end - begin):.1f}" '
            f'height="{HEIGHT - _BOTTOM}"/><path d="M{x(at):.1f} {_TOP}V{HEIGHT - _BOTTOM}"/>{circles}'
            f'<text x="{WIDTH - _RIGHT}" y="12" text-anchor="end">{shown}</text><title>{text}</title></g>'
        )
    return "".join(parts)


def nearest(points: Points, at: float) -> float | None:
    """The value of the point that is nearest to step `at`; None outside of the line."""
    if not points or not points[0][0] <= at <= points[-1][0]:
        return None
    index = bisect.bisect_left(points, (at,))
    near = points[max(0, index - 1) : index + 1]
    return min(near, key=lambda point: abs(point[0] - at))[1]


def timeline(spans: dict[int, tuple[float, float]], moments: Sequence[Moment]) -> str:
    """The attempts as bars on the clock, with what happened on them."""
    if not spans:
        return '<p class="none">not recorded</p>'
    begin, end = min(span[0] for span in spans.values()), max(span[1] for span in spans.values())
    x = Scale(*_widened(begin, end), 8, 752)
    parts = [
        f'<rect class="span" x="{x(a):.1f}" y="16" width="{max(2.0, x(b) - x(a)):.1f}" height="12" rx="3">'
        f"<title>attempt {number}</title></rect>"
        for number, (a, b) in sorted(spans.items())
    ]
    for moment in moments:
        size = 3 if moment.kind in ("checkpoint", "validation", "start") else 6
        parts.append(
            f'<path class="at {moment.kind}" d="M{x(moment.at):.1f} {22 - size - 3}V{22 + size + 3}">'
            f"<title>{safe(moment.text)}</title></path>"
        )
    label = "attempts on the clock, with checkpoints, resumes and failures"
    shape = 'class="timeline" viewBox="0 0 760 44" preserveAspectRatio="none"'
    return f'<svg {shape} role="img" aria-label="{label}">{"".join(parts)}</svg>'


def thin_out(points: Points) -> list[tuple[float, float]]:
    """At most 300 points: the means of equally many neighbours."""
    size = math.ceil(len(points) / _MAX_POINTS)
    if size <= 1:
        return list(points)
    groups = [points[begin : begin + size] for begin in range(0, len(points), size)]
    return [(group[-1][0], sum(value for _, value in group) / len(group)) for group in groups]


def moving_mean(points: Points) -> list[tuple[float, float]]:
    """The mean of each point and its neighbours within 6 % of the line."""
    reach = max(1, round(len(points) * _SMOOTHED_SHARE / 2))
    means = []
    for index, (at, _) in enumerate(points):
        near = points[max(0, index - reach) : index + reach + 1]
        means.append((at, sum(value for _, value in near) / len(near)))
    return means


def nice_ticks(low: float, high: float) -> list[float]:
    """Three to six round values from at most `low` to at least `high`."""
    low, high = _widened(low, high)
    raw = (high - low) / _NUM_TICKS
    power = 10.0 ** math.floor(math.log10(raw))
    step = next(factor * power for factor in (1, 2, 2.5, 5, 10) if factor * power >= raw * 0.999)
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    return [number * step for number in range(first, last + 1)]


def _widened(low: float, high: float) -> tuple[float, float]:
    """A span that can be divided: not empty, nor lost in the rounding of its ends."""
    size = max(abs(low), abs(high))
    if high - low > max(size * _SMALLEST_SHARE, _SMALLEST_SIZE):
        return low, high
    room = size * 0.1 if size > _SMALLEST_SIZE else 1.0
    return low - room, high + room


def _grid(ticks: Sequence[float], y: Scale, show: Format) -> str:
    lines = "".join(f'<path class="grid" d="M{_LEFT} {y(tick):.1f}H{WIDTH - _RIGHT}"/>' for tick in ticks)
    texts = "".join(
        f'<text x="{_LEFT - 6}" y="{y(tick) + 3.5:.1f}" text-anchor="end">{safe(show(tick))}</text>' for tick in ticks
    )
    return lines + texts


def step_ticks(first: float, last: float) -> list[float]:
    """Round whole steps from `first` to `last`; the step itself where there is one alone."""
    if first == last:
        return [first]
    return [tick for tick in nice_ticks(first, last) if first <= tick <= last and abs(tick - round(tick)) < 1e-6]


def _steps_axis(xs: Sequence[float], x: Scale) -> str:
    bottom = HEIGHT - _BOTTOM
    ticks = step_ticks(min(xs), max(xs))
    lines = "".join(f'<path class="tick" d="M{x(at):.1f} {bottom}v4"/>' for at in ticks)
    anchors = ["end" if x(at) > x.end - 12 else "middle" for at in ticks]
    texts = "".join(
        f'<text x="{x(at):.1f}" y="{bottom + 15}" text-anchor="{anchor}">{round(at):,}</text>'
        for at, anchor in zip(ticks, anchors, strict=True)
    )
    name = f'<text class="axis" x="{(x.begin + x.end) / 2:.0f}" y="{HEIGHT - 4}" text-anchor="middle">step</text>'
    return f'<path class="base" d="M{_LEFT} {bottom}H{WIDTH - _RIGHT}"/>{lines}{texts}{name}'


def _path(points: Points, x: Scale, y: Scale, name: str) -> str:
    if len(points) == 1:
        at, value = points[0]
        return f'<circle class="{name} single" cx="{x(at):.1f}" cy="{y(value):.1f}" r="3"/>'
    d = "L".join(f"{x(at):.1f} {y(value):.1f}" for at, value in points)
    return f'<path class="{name}" d="M{d}"/>' if points else ""
