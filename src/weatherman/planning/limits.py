"""How much memory a run may use on each platform, and on a device that is smaller than it."""

from __future__ import annotations

import os

from weatherman.config.schema import TrainingConfig
from weatherman.planning.memory import GIB
from weatherman.planning.mlx_memory import MAC_SHARE, uses_mlx

MEMORY_LIMIT_GB = {"h100": 70.0, "m4": 28.0}
_SMALL_MAC_BYTES = 16 * GIB  # what a quantised base is planned for where the Mac is not there


def memory_limit(config: TrainingConfig, device_bytes: int | None = None) -> int:
    """What a run may use: 70 GB on an H100, 28 on an M4 with 32; in the same proportion of a device that is smaller.

    Args:
        config: whose platform counts.
        device_bytes: the memory of the device that is there; None if that is not known.
    """
    if config.platform == "demo":
        return device_bytes or _machine_memory_bytes()
    limit = MEMORY_LIMIT_GB[config.platform] * GIB
    if config.platform == "m4" and uses_mlx(config):
        planned = _SMALL_MAC_BYTES if config.quantization != "none" else None
        there = device_bytes or planned
        return int(min(limit, there * MAC_SHARE)) if there else int(limit)
    if device_bytes is not None:
        reserved = 10 * GIB if config.platform == "h100" else 4 * GIB
        limit = min(limit, max(device_bytes * 7 / 8, device_bytes - reserved))
    return int(limit)


def _machine_memory_bytes() -> int:
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
