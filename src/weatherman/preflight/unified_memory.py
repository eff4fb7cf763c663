"""A Mac's memory, and the configuration that it is for."""

from __future__ import annotations

from pathlib import Path

from weatherman.preflight.probe import Probe

GIB = 2**30
MIN_MEMORY_GB = 16
RECOMMENDED_MEMORY_GB = 32
LARGE_CONFIG = Path("configs/training_config_m4.yaml")
SMALL_CONFIG = Path("configs/training_config_m4_16gb.yaml")


def memory_bytes(probe: Probe) -> int | None:
    """The unified memory; None if sysctl does not tell."""
    answer = probe.run(["sysctl", "-n", "hw.memsize"])
    text = answer.text.strip() if answer and answer.code == 0 else ""
    return int(text) if text.isdigit() else None


def config_for_memory(probe: Probe) -> Path:
    """The shipped configuration for a Mac of this size: in 4 bits below 32 GB, else the specification's."""
    size = memory_bytes(probe)
    return LARGE_CONFIG if size is None or size >= RECOMMENDED_MEMORY_GB * GIB else SMALL_CONFIG
