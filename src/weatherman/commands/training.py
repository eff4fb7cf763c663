"""`weatherman train` and `weatherman status`."""

from __future__ import annotations

import contextlib
import os
import sys
import warnings
from pathlib import Path
from typing import Annotated

import typer

from weatherman.commands.options import ConfigOption, JsonOption, SetOption


def register(app: typer.Typer) -> None:
    """Add these commands."""
    app.command()(train)
    app.command()(tune)
    app.command()(status)


def train(
    config: ConfigOption,
    overrides: SetOption = None,
    new_run: Annotated[
        bool, typer.Option("--new-run", help="A new folder <output_dir>-<time>, unless the last one is unfinished.")
    ] = False,
    reset_crash_loop: Annotated[
        bool, typer.Option("--reset-crash-loop", help="Forget earlier crashes at the same step.")
    ] = False,
) -> None:
    """Train, or go on with a run that was interrupted.

    Example: weatherman train --config configs/training_config_demo.yaml --set max_steps=20
    """
    from weatherman import messages
    from weatherman.config.load import load_config
    from weatherman.run.folder import next_run_folder

    messages.outlast_the_output()
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    warnings.filterwarnings("ignore", category=FutureWarning)  # of libraries about each other: nothing a user can mend
    loaded = load_config(config, overrides or ())
    if new_run:
        loaded = loaded.model_copy(update={"output_dir": str(next_run_folder(Path(loaded.output_dir)))})
    from weatherman.train import train as run_training

    raise typer.Exit(run_training(loaded, overrides=overrides or (), reset_crash_loop=reset_crash_loop))


def tune(
    config: ConfigOption,
    overrides: SetOption = None,
    as_json: JsonOption = False,
    fresh: Annotated[bool, typer.Option("--fresh", help="Try again what was found before on this machine.")] = False,
) -> None:
    """Find the fastest kernel, recomputation and token budget that compute rightly here, in at most 90 seconds.

    A run on CUDA does this by itself, and takes what this command has found. Exit code 1: no setting works.

    Example: weatherman tune --config configs/training_config_demo.yaml --json
    """
    import json

    from weatherman import messages
    from weatherman.config.load import load_config
    from weatherman.errors import EXIT_FAILED
    from weatherman.run.calibrate import report, run_calibration
    from weatherman.run.training_data import load_training_data

    loaded = load_config(config, overrides or ())
    with contextlib.redirect_stdout(sys.stderr) if as_json else contextlib.nullcontext():
        found = run_calibration(loaded, load_training_data(loaded), "PLAN", fresh=fresh)
        report(found, "PLAN")
    if as_json:
        print(json.dumps(found.to_json(), indent=2))
    elif found.best:
        messages.success("The setting marked (taken) is the fastest; runs on CUDA use it by themselves")
    if found.best is None and not as_json:
        messages.error("No setting works here. Hint: the lines above name what failed.")
    raise typer.Exit(EXIT_FAILED if found.best is None else 0)


def status(
    run: Annotated[Path | None, typer.Argument(help="The run's folder; the newest under runs/ by default.")] = None,
    as_json: JsonOption = False,
    watch: Annotated[bool, typer.Option("--watch", help="Show it again every two seconds.")] = False,
) -> None:
    """What a run is doing, and what to do next.

    Example: weatherman status runs/demo --json
    """
    from weatherman.run.status_view import show_status

    raise typer.Exit(show_status(run, as_json=as_json, watch=watch))
