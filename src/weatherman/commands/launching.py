"""`weatherman launch`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from weatherman.commands.options import SetOption


def register(app: typer.Typer) -> None:
    """Add this command."""
    app.command()(launch)


def launch(
    env: Annotated[Literal["h100", "m4", "cpu"], typer.Option("--env", help="The platform.")],
    config: Annotated[Path | None, typer.Option("--config", "-c", help="By default the platform's own.")] = None,
    overrides: SetOption = None,
    project: Annotated[
        Path, typer.Option("--project", help="The folder that paths are relative to, and that logs/ is made in.")
    ] = Path(),
    foreground: Annotated[
        bool, typer.Option("--foreground", help="Train in this terminal, to the end; closing it stops the run, saved.")
    ] = False,
    no_watch: Annotated[bool, typer.Option("--no-watch", help="Do not watch the first 100 steps.")] = False,
    auto_stop_pod: Annotated[
        bool, typer.Option("--auto-stop-pod", help="Stop the pod once the adapter is there and verified.")
    ] = False,
    hourly_rate: Annotated[
        float | None, typer.Option("--hourly-rate", help="Dollars an hour, for the cost: rate x hours.", min=0.0)
    ] = None,
    restarts: Annotated[
        int, typer.Option("--restarts", help="Start again after a crash, so often at most.", min=0, max=20)
    ] = 0,
    rehearse: Annotated[
        bool, typer.Option("--rehearse", help="The real flow on any machine: a small stand-in model, few steps.")
    ] = False,
    reset_crash_loop: Annotated[
        bool, typer.Option("--reset-crash-loop", help="Forget earlier crashes at the same step.")
    ] = False,
) -> None:
    """Check this machine, start training in the tmux session weatherman-training, and watch its first 100 steps.

    The same command goes on with a run that was interrupted. A rehearsal trains the packaged demo model, or the one in
    the folder that WEATHERMAN_REHEARSAL_MODEL names.

    Example: weatherman launch --env h100 --hourly-rate 2.69 --restarts 3
    """
    from weatherman.launch.launch import LaunchOptions
    from weatherman.launch.launch import launch as start

    options = LaunchOptions(
        platform=env, config=config, overrides=tuple(overrides or ()), project=project, foreground=foreground,
        watch=not no_watch, auto_stop_pod=auto_stop_pod, hourly_rate=hourly_rate, restarts=restarts, rehearse=rehearse,
        reset_crash_loop=reset_crash_loop,
    )  # fmt: skip
    raise typer.Exit(start(options))
