"""The contenders: each trains the same LoRA on the same tokens, in the same steps, its own way.

A contender's module has `start(config, micro_batch) -> Contender`. Heavy imports stay in those modules: a process that
measures one never imports another.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from weatherman.config.schema import TrainingConfig
from weatherman.records import StepPlan


@dataclass(frozen=True, slots=True)
class Timed:
    """One optimizer step: its seconds, its loss, and the tokens that went through the model, padding included."""

    wall_s: float
    cpu_s: float
    loss: float
    computed_tokens: int


class Contender(Protocol):
    """A model with a LoRA adapter and AdamW, and a way to take steps."""

    def step(self, plan: StepPlan, learning_rate: float) -> Timed:
        """Take one optimizer step."""

    def save(self, folder: Path) -> None:
        """Write adapter and optimizer."""

    def load(self, folder: Path) -> None:
        """Restore adapter and optimizer."""


@dataclass(frozen=True, slots=True)
class Entry:
    """A contender by name: for people, its module, whether it takes our launcher's allocator settings."""

    label: str
    module: str
    variant: str
    tuned_malloc: bool = False

    def start(self, config: TrainingConfig, micro_batch: int) -> Contender:
        """Load the model, ready to train."""
        module = importlib.import_module(f"benchmarks.contenders.{self.module}")
        begin: Callable[[TrainingConfig, int, str], Contender] = module.start
        return begin(config, micro_batch, self.variant)


CONTENDERS = {
    "trl": Entry("TRL SFTTrainer", "trl_sft", "padded"),
    "trl-packed": Entry("TRL SFTTrainer, packed", "trl_sft", "packed"),
    "peft-padded": Entry("transformers + peft, padded", "plain_loop", "padded"),
    "ours-off": Entry("ours, sharing off", "ours", "off", tuned_malloc=True),
    "ours-on": Entry("ours, sharing on", "ours", "on", tuned_malloc=True),
}
