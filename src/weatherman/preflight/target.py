"""What preflight is asked to judge: a platform, a configuration, and the machine's probe."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from weatherman.preflight.probe import Probe, SystemProbe
from weatherman.preflight.unified_memory import LARGE_CONFIG, config_for_memory

Platform = Literal["h100", "m4", "cpu"]
PLATFORMS: tuple[Platform, ...] = ("h100", "m4", "cpu")
CONFIGS: dict[Platform, Path] = {
    "h100": Path("configs/training_config_h100.yaml"),
    "m4": LARGE_CONFIG,
    "cpu": Path("configs/training_config_demo.yaml"),
}


def default_config(platform: Platform, probe: Probe) -> Path:
    """The shipped configuration of a platform, on a Mac by its memory."""
    return config_for_memory(probe) if platform == "m4" else CONFIGS[platform]


@dataclass(frozen=True, slots=True)
class Target:
    """What the checks judge.

    Attributes:
        platform: whose thresholds count.
        config: the training configuration; None for the platform's own.
        overrides: `key=value` texts on top of it.
        rehearse: what is not ok about the platform is reported as "cannot know here".
        before_setup: the environment is not made yet, so that the packages of this Python say nothing.
        probe: how the machine is asked; tests give their own.
    """

    platform: Platform
    config: Path | None = None
    overrides: tuple[str, ...] = ()
    rehearse: bool = False
    before_setup: bool = False
    probe: Probe = field(default_factory=SystemProbe)

    @property
    def config_path(self) -> Path:
        """The configuration that is checked."""
        return self.config if self.config is not None else default_config(self.platform, self.probe)


def detect_platform(probe: Probe) -> Platform:
    """The platform of this machine: an NVIDIA driver means h100, macOS m4, else cpu."""
    if probe.which("nvidia-smi"):
        return "h100"
    return "m4" if probe.which("system_profiler") else "cpu"
