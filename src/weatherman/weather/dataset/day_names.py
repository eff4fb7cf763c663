"""Days of a forecast in words: names, lists of them, and what may fall on them."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date
from itertools import groupby

from weatherman.weather.dataset.chat import WEEKDAYS
from weatherman.weather.dataset.climate import FALLING, SNOW, Day

_RUN = 3  # so many days on end are told as "from Friday to Sunday"


def weekday(day: date) -> str:
    """The English name; not the machine's locale."""
    return WEEKDAYS[day.weekday()]


def day_name(day: Day, start: date, *, dated: bool = False) -> str:
    """``today``, ``tomorrow``, ``Tuesday``, or ``Tuesday the 14th`` where a weekday comes twice."""
    offset = (day.date - start).days
    if offset < 2:
        return ("today", "tomorrow")[offset]
    name = weekday(day.date)
    if not dated:
        return name
    number = day.date.day
    suffix = "th" if 10 < number < 14 else {1: "st", 2: "nd", 3: "rd"}.get(number % 10, "th")
    return f"{name} the {number}{suffix}"


def listed(parts: Sequence[str], *, last: str = "and", mark: str = ",") -> str:
    """``a, b and c``, or with another last word and mark ``a; b or c``."""
    return f"{f'{mark} '.join(parts[:-1])} {last} {parts[-1]}" if len(parts) > 1 else parts[0]


def on_day(name: str) -> str:
    """``on Tuesday``, but ``tomorrow``."""
    return name if name in ("today", "tomorrow") else f"on {name}"


def _consecutive(days: Sequence[Day]) -> list[list[Day]]:
    """Days that follow each other, apart from those that do not."""
    groups = groupby(enumerate(days), key=lambda item: item[1].date.toordinal() - item[0])
    return [[day for _, day in group] for _, group in groups]


def on_days(days: Sequence[Day], start: date, *, dated: bool = False) -> str:
    """``today, on Tuesday and from Friday to Sunday``."""
    parts: list[str] = []
    for run in _consecutive(days):
        if len(run) >= _RUN:
            first, last = (day_name(day, start, dated=dated) for day in (run[0], run[-1]))
            parts.append(f"from {first} to {last}")
        else:
            parts += [on_day(day_name(day, start, dated=dated)) for day in run]
    kept = [
        part.removeprefix("on ") if before.startswith("on ") else part
        for before, part in zip(["", *parts], parts, strict=False)
    ]
    return listed(kept)


def what_falls(days: Sequence[Day]) -> str:
    """``rain``, ``snow`` or ``rain or snow``: what the wet ones among some days bring."""
    wet = {day.condition for day in days if day.condition in FALLING}
    if not wet:
        warmest_c = max(day.high_c for day in days)
        return "snow" if warmest_c <= 1 else "rain or snow" if warmest_c <= 4 else "rain"
    snowy = wet & SNOW
    if snowy == wet:
        return "snow"
    return "rain or snow" if snowy or "sleet" in wet else "rain"
