"""Charts as inline SVG: no script, no font, no picture from elsewhere; colours come from the page's style."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from html import escape
from typing import Any

from weatherman.messages import redact
from weatherman.report.run_data import Moment

Points = Sequence[tuple[float, float]]
Format = Callable[[float], str]

WIDTH, HEIGHT = 380, 210
_LEFT, _RIGHT, _TOP, _BOTTOM = 52, 10, 10, 26
_MAX_POINTS = 300
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


def chart(
    title: str,
    points: Points,
    show: Format,
    *,
    dots: Points = (),
    marks: Sequence[float] = (),
    smooth: bool = False,
    from_zero: bool = False,
) -> str:
    """A line over the steps.

    Args:
        title: for people and for screen readers.
        points: (step, value).
        show: spells a value on the axis.
        dots: single measurements on the same scale.
        marks: steps at which an attempt went on; dashed lines.
        smooth: draw the moving mean boldly over the faint line.
        from_zero: the value axis begins at zero.

    Returns:
        SVG; a sentence where there is nothing to draw.
    """
    line = thin_out(points)
    if not line and not dots:
        return '<p class="none">not recorded</p>'
    xs, ys = zip(*[*line, *dots], strict=True)
    ticks = nice_ticks(0.0 if from_zero else min(ys), max(ys))
    x = Scale(*_widened(min(xs), max(xs)), _LEFT, WIDTH - _RIGHT)
    y = Scale(*_widened(min(ticks[0], *ys), max(ticks[-1], *ys)), HEIGHT - _BOTTOM, _TOP)
    parts = [_grid(ticks, y, show), _steps_axis(xs, x)]
    parts += [f'<path class="mark" d="M{x(at):.1f} {_TOP}V{HEIGHT - _BOTTOM}"/>' for at in marks]
    if smooth and len(line) > 3:
        parts += [_path(line, x, y, "line faint"), _path(moving_mean(line), x, y, "line")]
    else:
        parts.append(_path(line, x, y, "line"))
    for at, value in dots:
        where = f'cx="{x(at):.1f}" cy="{y(value):.1f}"'
        parts.append(f'<circle class="dot" {where} r="3.5"><title>step {at:g}: {safe(show(value))}</title></circle>')
    label = safe(title)
    return f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{label}">{"".join(parts)}</svg>'


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


def _steps_axis(xs: Sequence[float], x: Scale) -> str:
    first, last = min(xs), max(xs)
    if first == last:
        return f'<text x="{x(last):.1f}" y="{HEIGHT - 8}" text-anchor="middle">step {last:g}</text>'
    middle = f'<text x="{(x.begin + x.end) / 2:.0f}" y="{HEIGHT - 8}" text-anchor="middle">step</text>'
    return middle + "".join(
        f'<text x="{x(at):.1f}" y="{HEIGHT - 8}" text-anchor="{anchor}">{at:g}</text>'
        for at, anchor in ((first, "start"), (last, "end"))
    )


def _path(points: Points, x: Scale, y: Scale, name: str) -> str:
    if len(points) == 1:
        at, value = points[0]
        return f'<circle class="dot" cx="{x(at):.1f}" cy="{y(value):.1f}" r="3"/>'
    d = "L".join(f"{x(at):.1f} {y(value):.1f}" for at, value in points)
    return f'<path class="{name}" d="M{d}"/>' if points else ""
