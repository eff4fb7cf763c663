"""Which engine a run takes: a rule without either library, and the one place that opens what was chosen."""

from __future__ import annotations

import platform
import sys
from collections.abc import Sequence
from typing import Literal

from weatherman.config.schema import TrainingConfig
from weatherman.engine.base import Engine
from weatherman.errors import WeathermanError

EngineName = Literal["torch", "mlx"]
MLX_QUANTIZATIONS = ("4bit", "8bit")


def on_apple_silicon() -> bool:
    """Whether this is a Mac with an M processor and a Python built for it."""
    return sys.platform == "darwin" and platform.machine() == "arm64"


def choose_engine(config: TrainingConfig, *, apple_silicon: bool | None = None) -> EngineName:
    """Choose the engine.

    `auto` takes MLX on Apple Silicon for a base in 4 or 8 bits alone, until somebody has tried it there with others.

    Args:
        config: the run's configuration.
        apple_silicon: whether the run will be on one; None asks this machine.

    Raises:
        WeathermanError: no engine can do here what the configuration asks for.
    """
    quantised = config.quantization in MLX_QUANTIZATIONS
    if config.engine != "auto":
        return config.engine
    if quantised and not (on_apple_silicon() if apple_silicon is None else apple_silicon):
        raise WeathermanError(
            "engine.quantization",
            f"quantization: {config.quantization} is computed by MLX, which is for Apple Silicon.",
            "set quantization: none, or engine: mlx to run it on this machine's CPU all the same (slow).",
        )
    return "mlx" if quantised else "torch"


def open_engine(config: TrainingConfig, *, sharing: bool, stop_token_ids: Sequence[int]) -> Engine:
    """Load the model into the chosen engine; the other one's library is never imported.

    Args:
        config: the run's configuration.
        sharing: compute shared prefixes once.
        stop_token_ids: tokens that end a generated turn.

    Raises:
        WeathermanError: the engine is not there, or cannot load the model.
    """
    if choose_engine(config) == "mlx":
        from weatherman.engine.mlx.library import require_mlx

        require_mlx()
        from weatherman.engine.mlx.engine import MlxEngine

        return MlxEngine(config, sharing=sharing, stop_token_ids=stop_token_ids)
    from weatherman.engine.torch.engine import TorchEngine

    return TorchEngine(config, sharing=sharing, stop_token_ids=stop_token_ids)
