"""`weatherman report`: a run as one HTML page."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from weatherman.commands.options import JsonOption


def register(app: typer.Typer) -> None:
    """Add this command."""
    app.command()(report)


def report(
    run: Annotated[Path | None, typer.Argument(help="The run's folder; the newest under runs/ by default.")] = None,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="The page; report.html in the run's folder by default.")
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Write a run's report: one HTML page that needs no network, with charts, samples, costs and hashes.

    Example: weatherman report runs/demo --output demo.html
    """
    from weatherman import messages
    from weatherman.report.page import make_report
    from weatherman.run.status_view import RUNS_ROOT, latest_run

    page = make_report(run or latest_run(RUNS_ROOT), output)
    if as_json:
        print(json.dumps({"format_version": 1, "report": str(page), "bytes": page.stat().st_size}))
    else:
        messages.success(f"The report is {page}")
