"""Options that several commands share, so that they read the same everywhere."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

ConfigOption = Annotated[Path, typer.Option("--config", "-c", help="The training configuration (YAML).")]
SetOption = Annotated[list[str] | None, typer.Option("--set", help="Override one key: --set learning_rate=1e-4.")]
JsonOption = Annotated[bool, typer.Option("--json", help="JSON on standard output, nothing else.")]
