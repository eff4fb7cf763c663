"""`weatherman train` and `weatherman status`."""

from __future__ import annotations

import os
import warnings
from pathlib import Path
from typing import Annotated

import typer

from weatherman.commands.options import ConfigOption, JsonOption, SetOption


def register(app: typer.Typer) -> None:
    """Add these commands."""
    app.command()(train)
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
    from weatherman.config.schema import load_config
    from weatherman.run.folder import next_run_folder

    messages.outlast_the_output()
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    warnings.filterwarnings("ignore", category=FutureWarning)  # of libraries about each other: nothing a user can mend
    loaded = load_config(config, overrides or ())
    if new_run:
        loaded = loaded.model_copy(update={"output_dir": str(next_run_folder(Path(loaded.output_dir)))})
    from weatherman.train import train as run_training

    raise typer.Exit(run_training(loaded, overrides=overrides or (), reset_crash_loop=reset_crash_loop))


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
