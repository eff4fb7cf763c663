"""Several runs on one page: a table of their figures, their curves together, what differs in their configurations."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence

from weatherman.progress import format_duration
from weatherman.report.charts import NUM_COLOURS, Line, chart, safe
from weatherman.report.run_data import RunData

_GIB = 2**30
_NOT_COMPARED = ("output_dir", "run_name")


def names_of(runs: Sequence[RunData]) -> list[str]:
    """Names that tell the runs apart: the run's own, with its folder's where several have the same."""
    names = [run.name for run in runs]
    return [f"{run.name} ({run.folder})" if names.count(run.name) > 1 else run.name for run in runs]


def comparison(runs: Sequence[RunData]) -> str:
    """The body of the page."""
    legend = "".join(
        f'<li><span class="swatch b{index % NUM_COLOURS}"></span>{safe(name)}</li>'
        for index, name in enumerate(names_of(runs))
    )
    return (
        f'<ul class="runs">{legend}</ul>'
        f'<section><h2>Figures</h2><div class="card wide">{_figures(runs)}</div></section>'
        f'<section><h2>Curves</h2><div class="charts two">{_curves(runs)}</div></section>'
        "<section><h2>What differs in the configurations</h2>"
        f'<div class="card wide">{_differences(runs)}</div></section>'
    )


def _figures(runs: Sequence[RunData]) -> str:
    rows: list[tuple[str, Callable[[RunData], str]]] = [
        ("state", lambda run: run.state),
        ("base model", lambda run: str(run.config.get("model_name_or_path", "–"))),
        ("steps", lambda run: f"{max(run.steps):,}" if run.steps else "–"),
        ("validation loss, before", lambda run: _loss(run, "before")),
        ("validation loss, after", lambda run: _loss(run, "after")),
        ("valid tool calls", lambda run: _score(run, "num_valid")),
        ("the right tool", lambda run: _score(run, "num_right_tool")),
        ("tokens/s, median", lambda run: f"{run.median_tokens_per_s:,.0f}" if run.median_tokens_per_s else "–"),
        ("peak memory, GB", lambda run: f"{run.peak_bytes / _GIB:.1f}" if run.peak_bytes else "–"),
        ("time, all attempts", lambda run: format_duration(run.spending.busy_s)),
        ("cost", lambda run: run.spending.in_words() or "–"),
        ("training data, SHA-256", lambda run: run.data_hash[:12] or "–"),
    ]
    return _table(runs, [(name, [value(run) for run in runs]) for name, value in rows])


def _loss(run: RunData, when: str) -> str:
    return f"{run.effects[when].validation_loss:.4f}" if when in run.effects else "–"


def _score(run: RunData, field: str) -> str:
    if "after" not in run.effects or not run.effects["after"].tools.num_prompts:
        return "–"
    after = run.effects["after"].tools
    before = f", {getattr(run.effects['before'].tools, field)} before" if "before" in run.effects else ""
    return f"{getattr(after, field)} of {after.num_prompts}{before}"


def _differences(runs: Sequence[RunData]) -> str:
    keys = sorted({key for run in runs for key in run.config} - set(_NOT_COMPARED))
    rows = []
    for key in keys:
        values = [json.dumps(run.config.get(key), ensure_ascii=False, default=str) for run in runs]
        if len(set(values)) > 1:
            rows.append((key, values))
    return _table(runs, rows) if rows else '<p class="none">nothing but their names and folders</p>'


def _table(runs: Sequence[RunData], rows: Sequence[tuple[str, Sequence[str]]]) -> str:
    head = "".join(
        f'<th><span class="swatch b{index % NUM_COLOURS}"></span>{safe(name)}</th>'
        for index, name in enumerate(names_of(runs))
    )
    body = "".join(
        f"<tr><th>{safe(name)}</th>{''.join(f'<td>{safe(value)}</td>' for value in values)}</tr>"
        for name, values in rows
    )
    return f'<table class="compare"><tr><th></th>{head}</tr>{body}</table>'


def _curves(runs: Sequence[RunData]) -> str:
    names = names_of(runs)

    def lines(points: Callable[[RunData], list[tuple[float, float]]], *, smooth: bool = False) -> list[Line]:
        return [Line(names[index], points(run), index, smooth) for index, run in enumerate(runs)]

    def plain(value: float) -> str:
        return f"{value:.3g}"

    drawn = [
        ("Loss, moving mean", chart("loss", lines(lambda run: run.series("loss"), smooth=True), plain)),
        ("Validation loss", chart("validation loss", lines(lambda run: run.validation_points), plain)),
        (
            "Learning rate",
            chart("learning rate", lines(lambda run: run.series("learning_rate")), plain, from_zero=True),
        ),
        (
            "Effective tokens per second",
            chart(
                "tokens per second",
                lines(lambda run: run.series("tokens_per_s"), smooth=True),
                lambda value: f"{value:,.0f}",
                from_zero=True,
            ),
        ),
    ]
    return "".join(f'<div class="card"><h3>{title}</h3>{svg}</div>' for title, svg in drawn)
