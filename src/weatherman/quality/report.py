"""The measures as a table or as JSON, and the verdict."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

from weatherman import messages
from weatherman.errors import WeathermanError
from weatherman.messages import escape
from weatherman.quality.measures import DataSet, load, measure
from weatherman.quality.metric import Metric

_MARKS = {"ok": "✅", "fail": "❌", "unknown": "❔", "info": "  "}
_NUM_SHOWN = 20
_MAX_DETAIL = 150


def check(
    train: Path,
    validation: Path | None,
    *,
    as_json: bool,
    measures: Callable[[DataSet], Iterable[Metric]] = measure,
) -> int:
    """Measure files and tell.

    Args:
        train: the training file, or the only one.
        validation: the held-out file, if there is one.
        as_json: JSON instead of the table.
        measures: what is measured; only what any file can be held to by default.

    Returns:
        The exit code: 1 if a goal is missed.

    Raises:
        WeathermanError: a file cannot be read at all.
    """
    data = load(train, validation)
    if not as_json:
        messages.say("DATA", f"Checking {data.num_rows:,} conversations in {' and '.join(map(str, data.files))}.")
    found = []
    for metric in measures(data):
        found.append(metric)
        if not as_json:
            print(row(metric), flush=True)
    if as_json:
        problems = [str(problem) for problem in data.problems]
        print(json.dumps(as_document(found) | {"problems": problems}, ensure_ascii=False, indent=1))
    else:
        for problem in data.problems[:_NUM_SHOWN]:
            messages.error(problem)
        _tell(found, len(data.problems))
    return 0 if passes(found) else 1


def passes(metrics: Iterable[Metric]) -> bool:
    """Whether no goal is missed; what cannot be known does not count against it."""
    return all(metric.verdict != "fail" for metric in metrics)


def as_document(metrics: Sequence[Metric]) -> dict[str, object]:
    """For machines."""
    return {"ok": passes(metrics), "metrics": [metric.as_json() for metric in metrics]}


def row(metric: Metric) -> str:
    """One line of the table: mark, name, value, goal, and the worst case beneath."""
    value = (
        "cannot know" if metric.verdict == "unknown" else f"{metric.value:,}" if _is_number(metric) else metric.value
    )
    line = f"{_MARKS[metric.verdict]} {metric.name:<26}{escape(value):<14} {escape(metric.goal)}".rstrip()
    detail = escape(metric.detail)
    if len(detail) > _MAX_DETAIL and metric.verdict != "fail":
        detail = f"{detail[:_MAX_DETAIL]}…"
    return f"{line}\n{'':5}{detail}" if detail else line


def _is_number(metric: Metric) -> bool:
    return isinstance(metric.value, (int, float))


def _tell(metrics: Sequence[Metric], num_problems: int) -> None:
    failed = [metric.name for metric in metrics if metric.verdict == "fail"]
    unknown = [metric.name for metric in metrics if metric.verdict == "unknown"]
    if unknown:
        messages.warning(f"Cannot know here, and not counted as passed: {', '.join(unknown)}.")
    if failed:
        hint = f"{num_problems:,} problems in rows are named above." if num_problems else ""
        messages.error(WeathermanError("data.short", f"The data falls short in {', '.join(failed)}.", hint))
    else:
        num_goals = sum(metric.verdict == "ok" for metric in metrics)
        messages.success(f"The data reaches all {num_goals} goals that could be measured.")
