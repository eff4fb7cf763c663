"""The model, adapter and optimizer that every peer gets: the very same weights as ours, in PEFT's own layers."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import torch
from peft import PeftModel

from weatherman.config.schema import TrainingConfig
from weatherman.engine.torch.lora import add_adapter, load_adapter, load_optimizer, save_adapter, save_optimizer
from weatherman.engine.torch.model import load_model
from weatherman.records import Rendered

IGNORED = -100
OPTIMIZER_FILE = "optimizer.safetensors"


def peft_model(config: TrainingConfig) -> PeftModel:
    """The base model in float32 on the CPU, with a fresh adapter drawn from the seed."""
    base = load_model(config.model_name_or_path, config.model_revision, torch.float32, torch.device("cpu"))
    return add_adapter(base, config)


def new_optimizer(model: PeftModel, config: TrainingConfig) -> torch.optim.AdamW:
    """AdamW over the adapter, fused, with the run's settings."""
    return torch.optim.AdamW(
        [parameter for parameter in model.parameters() if parameter.requires_grad],
        lr=config.learning_rate,
        betas=(config.adam_beta1, config.adam_beta2),
        eps=config.adam_epsilon,
        weight_decay=config.weight_decay,
        fused=True,
    )


def save_state(model: PeftModel, optimizer: torch.optim.Optimizer, folder: Path) -> None:
    """Write adapter and optimizer as our checkpoints hold them."""
    save_adapter(model, folder)
    save_optimizer(optimizer, model, folder / OPTIMIZER_FILE)


def load_state(model: PeftModel, optimizer: torch.optim.Optimizer, folder: Path) -> None:
    """Restore what `save_state` wrote."""
    load_adapter(model, folder)
    load_optimizer(optimizer, model, folder / OPTIMIZER_FILE)


def labels(example: Rendered) -> list[int]:
    """The example's ids where they are trained on, elsewhere the value that cross-entropy ignores."""
    return [int(number) for number in np.where(example.mask, example.ids, IGNORED)]


class Stopwatch:
    """Wall and CPU seconds of a block."""

    wall_s: float
    cpu_s: float

    def start(self) -> None:
        """Begin."""
        self._wall, self._cpu = time.perf_counter(), _cpu_s()

    def stop(self) -> None:
        """End."""
        self.wall_s, self.cpu_s = time.perf_counter() - self._wall, _cpu_s() - self._cpu

    @contextmanager
    def running(self) -> Iterator[None]:
        """Time a block."""
        self.start()
        yield
        self.stop()


def _cpu_s() -> float:
    times = os.times()
    return times.user + times.system
