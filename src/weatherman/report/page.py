"""The report of a run: one HTML page that needs nothing else, with charts, samples, costs and origins."""

from __future__ import annotations

import datetime
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from weatherman import messages
from weatherman.config.schema import TrainingConfig, resolved
from weatherman.errors import WeathermanError
from weatherman.progress import format_duration
from weatherman.report.charts import Line, chart, timeline
from weatherman.report.charts import safe as _e
from weatherman.report.compare import comparison
from weatherman.report.run_data import RunData, read_run
from weatherman.report.samples import samples
from weatherman.system.atomic import write_atomic

REPORT_FILE, COMPARISON_FILE = "report.html", "comparison.html"
_MAX_MOMENTS = 80
_GIB = 2**30
_LEGEND = "".join(
    f'<span class="key {kind}"></span>{text} '
    for kind, text in (
        ("checkpoint", "start, checkpoint, validation"),
        ("resume", "resume, stop, quarantine"),
        ("failure", "failure"),
        ("finish", "finished"),
    )
)
_STYLE_FILE = Path(__file__).with_name("page.css")
_POLICY = "default-src 'none'; style-src 'unsafe-inline'"


def write_report(run_dir: Path) -> Path | None:
    """Write a run's report at the end of training; a report that cannot be made is told and stops nothing.

    Args:
        run_dir: the run's folder.

    Returns:
        Where the page is; None if it could not be written.
    """
    try:
        return make_report(run_dir)
    except Exception as problem:  # the adapter is there and good: nothing about its report may end the run as failed
        messages.warning(f"The report could not be written ({problem}); later: weatherman report {run_dir}")
        return None


def make_report(run_dir: Path, *others: Path, target: Path | None = None) -> Path:
    """Write a run's report, or one that compares several runs.

    Args:
        run_dir: the run's folder.
        others: folders of the runs that it is compared with.
        target: the page; by default `report.html` in the run's folder, for several `comparison.html` beside it.

    Returns:
        The page.

    Raises:
        WeathermanError: the folder holds no run, or the page cannot be written.
    """
    runs = [read_run(folder) for folder in (run_dir, *others)]
    page = target or (run_dir.resolve().parent / COMPARISON_FILE if others else run_dir / REPORT_FILE)
    html = render_comparison(runs) if others else render_page(runs[0])
    try:
        write_atomic(page, html.encode("utf-8", "replace"), durable=False)
    except OSError as problem:
        text = f"{page} cannot be written: {problem.strerror or problem}."
        raise WeathermanError("report.unwritable", text, "give another file: --output FILE") from problem
    return page


def render_page(data: RunData) -> str:
    """The page as HTML."""
    body = "".join(
        f"<section><h2>{title}</h2>{content}</section>"
        for title, content in (
            ("Before and after", samples(data.effects)),
            ("Training", _charts(data)),
            ("On the clock", _clock(data)),
            ("Configuration", _configuration(data)),
            ("Where it comes from", _provenance(data)),
        )
        if content
    )
    return _whole_page(data.name, f"{_header(data)}{_facts(data)}{body}")


def render_comparison(runs: Sequence[RunData]) -> str:
    """The page that compares runs."""
    title = f"{len(runs)} runs"
    return _whole_page(title, f"<header><h1>{title}</h1></header>{comparison(runs)}")


def _whole_page(title: str, body: str) -> str:
    style = _STYLE_FILE.read_text(encoding="utf-8")
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        f'<meta http-equiv="Content-Security-Policy" content="{_POLICY}">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{_e(title)} · Weatherman-LoRA</title><style>{style}</style></head>"
        f"<body><main>{body}</main></body></html>\n"
    )


def _header(data: RunData) -> str:
    config, engine = data.config, _object(data.run.get("engine"))
    told = [
        config.get("model_name_or_path"),
        f"LoRA r = {config['lora_r']}, alpha = {config.get('lora_alpha')}" if "lora_r" in config else None,
        engine.get("device_name") or engine.get("device"),
        engine.get("dtype"),
        _time(min(span[0] for span in data.spans.values())) if data.spans else None,
    ]
    facts = " · ".join(_e(part) for part in told if part)
    state = f'<span class="state {_e(data.state)}">{_e(data.state)}</span>'
    return f'<header><h1>{_e(data.name)}</h1>{state}<p class="sub">{facts}</p></header>'


def _facts(data: RunData) -> str:
    before, after = data.effects.get("before"), data.effects.get("after")
    facts: list[tuple[str, str, str]] = []
    if after and before:
        change = after.validation_loss - before.validation_loss
        facts.append(
            ("Validation loss", f"{after.validation_loss:.4f}", f"{change:+.4f} from {before.validation_loss:.4f}")
        )
    if after and after.tools.num_prompts:
        was = f"{before.tools.num_valid} before" if before else ""
        facts.append(("Valid tool calls", f"{after.tools.num_valid} of {after.tools.num_prompts}", was))
        was = f"{before.tools.num_right_tool} before" if before else ""
        facts.append(("The right tool", f"{after.tools.num_right_tool} of {after.tools.num_prompts}", was))
    if data.steps:
        attempts = f"in {len(data.spans)} attempts" if len(data.spans) > 1 else ""
        facts.append(("Steps", f"{max(data.steps):,}", attempts))
    spent = data.spending
    if spent.busy_s:
        facts.append(("Time", format_duration(spent.busy_s), "all attempts together" if len(data.spans) > 1 else ""))
    if data.median_tokens_per_s is not None:
        facts.append(("Tokens/s, median", f"{data.median_tokens_per_s:,.0f}", f"{data.num_tokens:,} tokens in all"))
    if data.peak_bytes is not None:
        facts.append(("Peak memory", f"{data.peak_bytes / _GIB:.1f} GB", ""))
    rate = spent.hourly_rate
    small = f"${rate:.2f} an hour × {spent.busy_s / 3600:.2f} h" if rate else "no hourly_rate was given"
    facts.append(("Cost", f"${spent.dollars:.2f}" if rate else "–", small))
    cells = (f"<div><dt>{_e(n)}</dt><dd>{_e(v)}<small>{_e(s)}</small></dd></div>" for n, v, s in facts)
    return f'<dl class="facts">{"".join(cells)}</dl>'


def _charts(data: RunData) -> str:
    marks = [float(step) for step in data.resumed_steps]
    dots = data.validation_points
    memory = [(step, value / _GIB) for step, value in data.series("peak_memory_bytes")]
    plain, small, whole = (lambda v: f"{v:.4g}"), (lambda v: f"{v:.2g}"), (lambda v: f"{v:,.0f}")

    def line(name: str, field: str, *, smooth: bool = False) -> list[Line]:
        return [Line(name, data.series(field), smooth=smooth)]

    loss = chart("loss", line("mean", "loss", smooth=True), plain, dots=dots, marks=marks)
    speed = chart("tokens per second", line("tokens/s", "tokens_per_s"), whole, marks=marks, from_zero=True)
    rate = chart("learning rate", line("rate", "learning_rate"), small, marks=marks, from_zero=True)
    norm = chart("gradient norm", line("mean", "grad_norm", smooth=True), plain, marks=marks)
    drawn = [
        (
            "Loss",
            loss,
            _legend(("faint", "each step"), ("mean", "moving mean"), ("dots", "validation")) + _resumed(marks),
        ),
        ("Learning rate", rate, _resumed(marks)),
        ("Effective tokens per second", speed, _resumed(marks)),
        (
            "Peak memory, GB",
            chart("peak memory", [Line("GB", memory)], plain, marks=marks, from_zero=True),
            _resumed(marks),
        ),
        (
            "Gradient norm before clipping",
            norm,
            _legend(("faint", "each step"), ("mean", "moving mean")) + _resumed(marks),
        ),
    ]
    if len(dots) > 1:
        validation = chart("validation loss", [Line("validation", dots)], plain, marks=marks)
        drawn.insert(1, ("Validation loss", validation, _resumed(marks)))
    return (
        '<div class="charts">'
        + "".join(
            f'<div class="card"><h3>{title}</h3>{svg}<p class="legend">{legend}</p></div>'
            for title, svg, legend in drawn
        )
        + "</div>"
    )


def _legend(*entries: tuple[str, str]) -> str:
    return "".join(f'<span><i class="sign {kind}"></i>{text}</span>' for kind, text in entries)


def _resumed(marks: Sequence[float]) -> str:
    return _legend(("resumed", "went on from a checkpoint")) if marks else ""


def _clock(data: RunData) -> str:
    shown = data.moments[-_MAX_MOMENTS:]
    rows = "".join(f"<tr><td>{_e(_time(m.at))}</td><td>{_e(m.text)}</td></tr>" for m in shown)
    left_out = len(data.moments) - len(shown)
    note = f'<p class="note">{left_out:,} earlier ones are in events.jsonl.</p>' if left_out else ""
    table = (
        f"<details><summary>What happened ({len(shown)})</summary><table>{rows}</table>{note}</details>" if rows else ""
    )
    ends = [_time(f(at for span in data.spans.values() for at in span)) for f in (min, max)] if data.spans else []
    clock = "".join(f"<span>{_e(end)}</span>" for end in ends)
    under = f'<p class="ends">{clock}</p><p class="note">{_LEGEND}</p>'
    return f'<div class="card">{timeline(data.spans, data.moments)}{under}{table}</div>'


def _configuration(data: RunData) -> str:
    defaults = resolved(TrainingConfig())
    rows = []
    for key, value in data.config.items():
        mark = ' class="set"' if key in defaults and value != defaults[key] else ""
        rows.append(f"<tr{mark}><th>{_e(key)}</th><td><code>{_e(_spelled(value))}</code></td></tr>")
    if not rows:
        return ""
    return (
        f'<div class="card"><details><summary>{len(rows)} keys (bold: not the default)</summary>'
        f"<table>{''.join(rows)}</table></details></div>"
    )


def _provenance(data: RunData) -> str:
    frozen, hardware = _object(data.run.get("frozen")), _object(data.run.get("hardware"))
    arguments = data.run.get("argv")
    facts = {
        "run id": data.run.get("run_id"),
        "weatherman": data.run.get("weatherman"),
        "git commit": data.run.get("git_commit"),
        "training data, SHA-256": frozen.get("data"),
        "chat template, SHA-256": frozen.get("template"),
        "tokenizer, SHA-256": frozen.get("tokenizer"),
        **{str(name): version for name, version in _object(frozen.get("versions")).items()},
        "python": data.run.get("python"),
        "system": hardware.get("system"),
        "processors": hardware.get("num_cpus"),
        "command": " ".join(["weatherman", *map(str, arguments)]) if isinstance(arguments, list) else None,
    }
    rows = "".join(f"<tr><th>{_e(k)}</th><td><code>{_e(v)}</code></td></tr>" for k, v in facts.items() if v is not None)
    return f'<div class="card"><table>{rows}</table></div>' if rows else ""


def _spelled(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)


def _time(at: float) -> str:
    return datetime.datetime.fromtimestamp(at, datetime.timezone.utc).strftime("%Y-%m-%d %H:%M:%S UTC")


def _object(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}
