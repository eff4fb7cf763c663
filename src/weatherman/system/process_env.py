"""Environment that a training process needs before its first import of torch: it can only be set by starting again."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping

PROCESS_SETTINGS = {
    "OMP_WAIT_POLICY": "PASSIVE",
    "MALLOC_MMAP_MAX_": "0",
    "MALLOC_TRIM_THRESHOLD_": str(4 * 2**30),
    "MALLOC_TOP_PAD_": str(64 * 2**20),
}
_DONE = "WEATHERMAN_PROCESS"


def process_settings(environment: Mapping[str, str], platform: str) -> dict[str, str]:
    """Say which settings of the C libraries are still to be made.

    glibc gives every large block back to the kernel when it is freed, and each activation is then paged in, zeroed,
    again: freed memory is kept in the process. GNU OpenMP's threads spin at the end of every product for whichever of
    them lost its core, and a busy machine then computes next to nothing: they wait asleep.

    Args:
        environment: the process's; what the user set stays.
        platform: `sys.platform`; only Linux has these libraries.

    Returns:
        Variables to set before starting again; empty when there is nothing to do.
    """
    if platform != "linux" or _DONE in environment:
        return {}
    wanted = {name: value for name, value in PROCESS_SETTINGS.items() if name not in environment}
    return {**wanted, _DONE: "1"}


def restart_with_process_settings() -> None:
    """Start this very process again with these settings, once; a no-op where they are set or not known."""
    settings = process_settings(os.environ, sys.platform)
    if settings:
        os.environ.update(settings)
        os.execv(sys.executable, [sys.executable, *sys.orig_argv[1:]])
