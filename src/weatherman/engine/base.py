"""What the training loop asks of an engine; nothing here knows torch or MLX."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from weatherman.records import Rendered, StepPlan, StepResult


@dataclass(frozen=True, slots=True)
class EngineInfo:
    """Facts about the engine that a plan and `run.json` record. Sizes in bytes, parameters counted."""

    backend: str
    device: str
    device_name: str
    dtype: str
    attention: str
    sharing: bool
    num_threads: int
    num_parameters: int
    num_trainable_parameters: int
    max_tokens_per_chunk: int | None
    recomputes: bool = False


@dataclass(frozen=True, slots=True)
class Evaluation:
    """The mean loss over supervised tokens of a set of examples."""

    loss: float
    num_supervised_tokens: int


class Engine(Protocol):
    """One model with a LoRA adapter and its optimizer."""

    @property
    def info(self) -> EngineInfo:
        """Facts about the device, the model and the settings in force."""

    def prove_causality(self) -> None:
        """Raise `WeathermanError` if a changed future or sibling token changes what it must not."""

    def prepare(self, plan: StepPlan) -> None:
        """Begin the work of a step that comes next; `step` gives the same result without it."""

    def step(self, plan: StepPlan, learning_rate: float) -> StepResult:
        """Run one optimizer step; a loss or gradient that is not finite raises before the update."""

    def evaluate(
        self, examples: Sequence[Rendered], progress: Callable[[int], None] | None = None, *, adapter: bool = True
    ) -> Evaluation:
        """Mean loss over the supervised tokens, without dropout; `progress` hears how many examples are done."""

    def generate(
        self, prompts: Sequence[Sequence[int]], max_new_tokens: int, *, adapter: bool = True
    ) -> list[list[int]]:
        """Greedy continuations of prompts, up to and without the end-of-turn token."""

    def save_adapter(self, folder: Path) -> None:
        """Write the adapter in PEFT's format."""

    def save_optimizer(self, folder: Path) -> None:
        """Write the optimizer's state as `optimizer.safetensors`."""

    def load(self, folder: Path) -> None:
        """Restore adapter and optimizer from a checkpoint folder."""

    def peak_memory_bytes(self) -> int:
        """The most memory in use so far: the device's on CUDA, else the process's resident set."""
