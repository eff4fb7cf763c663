"""A plain loop: transformers' model with its own loss, PEFT's adapter, padded micro-batches, gradients summed."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch
from peft import PeftModel

from benchmarks.contenders import Timed
from benchmarks.contenders.model import IGNORED, Stopwatch, load_state, new_optimizer, peft_model, save_state
from weatherman.config.schema import TrainingConfig
from weatherman.records import StepPlan
from weatherman.steps.prefix_tree import pad


@dataclass(slots=True)
class _PlainLoop:
    model: PeftModel
    optimizer: torch.optim.AdamW
    micro_batch: int
    max_grad_norm: float

    def step(self, plan: StepPlan, learning_rate: float) -> Timed:
        """Take one optimizer step."""
        watch = Stopwatch()
        with watch.running():
            loss, num_computed = self._step(plan, learning_rate)
        return Timed(watch.wall_s, watch.cpu_s, loss, num_computed)

    def _step(self, plan: StepPlan, learning_rate: float) -> tuple[float, int]:
        total, num_computed = 0.0, 0
        self.optimizer.zero_grad(set_to_none=True)
        for begin in range(0, len(plan.examples), self.micro_batch):
            batch = pad(plan.examples[begin : begin + self.micro_batch])
            ids = torch.from_numpy(batch.ids)
            loss = self.model(
                input_ids=ids,
                attention_mask=torch.from_numpy(batch.attention).long(),
                labels=ids.masked_fill(~torch.from_numpy(batch.supervised), IGNORED),
                num_items_in_batch=plan.num_supervised_tokens,
                use_cache=False,
            ).loss
            loss.backward()
            total += float(loss.detach())
            num_computed += ids.numel()
        torch.nn.utils.clip_grad_norm_(self.model.parameters(), self.max_grad_norm)
        for group in self.optimizer.param_groups:
            group["lr"] = learning_rate
        self.optimizer.step()
        return total, num_computed

    def save(self, folder: Path) -> None:
        """Write adapter and optimizer."""
        save_state(self.model, self.optimizer, folder)

    def load(self, folder: Path) -> None:
        """Restore adapter and optimizer."""
        load_state(self.model, self.optimizer, folder)


def start(config: TrainingConfig, micro_batch: int, variant: str) -> _PlainLoop:  # noqa: ARG001
    """Load the model; there is one variant."""
    model = peft_model(config)
    return _PlainLoop(model, new_optimizer(model, config), micro_batch, config.max_grad_norm)
