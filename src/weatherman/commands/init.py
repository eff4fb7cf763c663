"""`weatherman init`: the beginning of a task of one's own."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def register(app: typer.Typer) -> None:
    """Add this command."""
    app.command()(init)


def init(folder: Annotated[Path, typer.Argument(help="A new folder.")]) -> None:
    """Begin a task of your own: a config, tools, eight conversations, prompts, and a README whose commands run.

    Example: weatherman init my_task
    """
    from weatherman import messages
    from weatherman.task.start import write_starter

    target = folder.absolute()
    names = write_starter(target)
    messages.say("DATA", f"{folder} holds {', '.join(names)}")
    messages.success(f"The task begins in {folder}; README.md there has the commands.")
