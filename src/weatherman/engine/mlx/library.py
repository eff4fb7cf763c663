"""Whether MLX can be used here, told before anything imports it; and mlx-lm's loader without its side effects."""

from __future__ import annotations

import importlib
import platform
import resource
import sys
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from weatherman.errors import WeathermanError

_NEEDED = {"mlx": (0, 31), "mlx-lm": (0, 31)}
_INSTALL = 'pip install "mlx>=0.31" "mlx-lm>=0.31"; on Linux "mlx[cpu]" (see docs/TRAINING_M4.md).'


def require_mlx() -> None:
    """Refuse, by name, what MLX cannot run on.

    Raises:
        WeathermanError: an Intel Python, or packages that are missing or too old.
    """
    if sys.platform == "darwin" and platform.machine() != "arm64":
        raise WeathermanError(
            "engine.mlx-intel",
            f"this Python ({sys.executable}) is built for {platform.machine()}; MLX needs one for Apple Silicon.",
            "under Rosetta: leave it, install an arm64 Python, and run setup_m4_local.sh again; "
            "on an Intel Mac set engine: torch.",
        )
    for name, lowest in _NEEDED.items():
        wanted = ".".join(map(str, lowest))
        try:
            found = version(name)
        except PackageNotFoundError:
            text = f"engine: mlx needs the package {name} {wanted} or newer, which is not installed."
            raise WeathermanError("engine.mlx-missing", text, _INSTALL) from None
        if tuple(int(part) for part in found.split(".")[:2] if part.isdigit()) < lowest:
            text = f"engine: mlx needs {name} {wanted} or newer, and {found} is installed."
            raise WeathermanError("engine.mlx-old", text, _INSTALL)


def import_mlx_lm() -> Any:
    """Import `mlx_lm.utils`, which sets this process's limit of open files, or fails to; the limit stays as it is."""
    set_limit = resource.setrlimit
    resource.setrlimit = lambda *_: None
    try:
        return importlib.import_module("mlx_lm.utils")
    finally:
        resource.setrlimit = set_limit
