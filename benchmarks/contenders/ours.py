"""Ours: the engine that `weatherman train` uses, with sharing on or off."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from benchmarks.contenders import Timed
from benchmarks.contenders.model import Stopwatch
from weatherman.config.schema import TrainingConfig
from weatherman.engine.torch.engine import TorchEngine
from weatherman.records import StepPlan


@dataclass(slots=True)
class _Ours:
    engine: TorchEngine

    def step(self, plan: StepPlan, learning_rate: float) -> Timed:
        """Take one optimizer step; the tree is built within it."""
        watch = Stopwatch()
        with watch.running():
            result = self.engine.step(plan, learning_rate)
        return Timed(watch.wall_s, watch.cpu_s, result.loss, result.num_computed_tokens)

    def save(self, folder: Path) -> None:
        """Write adapter and optimizer."""
        self.engine.save_adapter(folder)
        self.engine.save_optimizer(folder)

    def load(self, folder: Path) -> None:
        """Restore adapter and optimizer."""
        self.engine.load(folder)


def start(config: TrainingConfig, micro_batch: int, variant: str) -> _Ours:
    """Start the engine; `variant` is "on" or "off"."""
    config = config.model_copy(update={"per_device_train_batch_size": micro_batch})
    return _Ours(TorchEngine(config, sharing=variant == "on", stop_token_ids=[]))
