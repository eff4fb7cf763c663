"""How this program is started from the shell that is there: by its name, or where that is not on PATH, by its path."""

from __future__ import annotations

import shlex
import shutil
import sys
from pathlib import Path


def own_command(*words: str) -> str:
    """A command line that a person can type as it stands.

    Args:
        words: the arguments.

    Returns:
        The line, quoted for a shell: `weatherman status runs/demo`, or `.venv/bin/weatherman status runs/demo`.
    """
    return shlex.join([*_program(), *words])


def _program() -> list[str]:
    own = Path(sys.executable).with_name("weatherman")
    found = shutil.which("weatherman")
    if found and (not own.exists() or Path(found).samefile(own)):
        return ["weatherman"]
    if not own.exists():  # it runs from its source
        return [sys.executable, "-m", "weatherman.cli"]
    here = Path.cwd()
    return [str(own.relative_to(here) if own.is_relative_to(here) else own)]
