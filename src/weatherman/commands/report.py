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
    runs: Annotated[
        list[Path] | None,
        typer.Argument(help="Folders of runs; the newest under runs/ by default. Several are compared."),
    ] = None,
    output: Annotated[
        Path | None,
        typer.Option(
            "--output",
            "-o",
            help="The page; by default report.html in the run's folder, comparison.html beside several.",
        ),
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Write a run's report: one HTML page that needs no network, with charts, samples, costs and hashes.

    Of several runs it is a comparison: their figures, their curves together, what differs in their configurations.

    Example: weatherman report runs/demo --output demo.html
    """
    from weatherman import messages
    from weatherman.report.page import make_report
    from weatherman.run.status_view import RUNS_ROOT, latest_run

    page = make_report(*(runs or [latest_run(RUNS_ROOT)]), target=output)
    if as_json:
        print(json.dumps({"format_version": 1, "report": str(page), "bytes": page.stat().st_size}))
    else:
        messages.success(f"The report is {page}")
