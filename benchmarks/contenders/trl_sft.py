"""TRL's SFTTrainer on our tokens: `input_ids` and `labels` come ready, so that its loss is over the same targets.

Its settings are chosen for speed on a CPU: float32 (bfloat16 is slower here), no recomputation, the fused AdamW, no
saving, no evaluation. What it logs besides (entropy, token accuracy) is part of what its users get.
"""

from __future__ import annotations

import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from datasets import Dataset, disable_progress_bars
from peft import PeftModel
from transformers import AutoTokenizer, TrainerCallback
from trl import SFTConfig, SFTTrainer

from benchmarks.contenders import Timed
from benchmarks.contenders.model import Stopwatch, labels, load_state, new_optimizer, peft_model, save_state
from weatherman.config.schema import TrainingConfig
from weatherman.models.base_model import model_folder
from weatherman.records import StepPlan

disable_progress_bars()
PACK_TOKENS = 2048


class _Clock(TrainerCallback):
    """Times the optimizer step: data preparation and start-up are left out, in TRL's favour."""

    def __init__(self) -> None:
        self.watch = Stopwatch()

    def on_step_begin(self, *args: Any, **kwargs: Any) -> None:
        self.watch.start()

    def on_step_end(self, *args: Any, **kwargs: Any) -> None:
        self.watch.stop()


class _Trainer(SFTTrainer):
    """Adds up what a step's micro-batches report."""

    loss = 0.0
    num_computed = 0

    def training_step(self, model: Any, inputs: dict[str, Any], *args: Any, **kwargs: Any) -> torch.Tensor:
        self.num_computed += inputs["input_ids"].numel()
        loss = super().training_step(model, inputs, *args, **kwargs)
        self.loss += float(loss)
        return loss


@dataclass(slots=True)
class _Trl:
    model: PeftModel
    config: TrainingConfig
    micro_batch: int
    packed: bool
    optimizer: torch.optim.AdamW

    def step(self, plan: StepPlan, learning_rate: float) -> Timed:
        """Take one optimizer step: train for one step on a data set of the plan's examples."""
        rows = [{"input_ids": example.ids.tolist(), "labels": labels(example)} for example in plan.examples]
        for group in self.optimizer.param_groups:
            group["lr"] = group["initial_lr"] = learning_rate
        clock = _Clock()
        with tempfile.TemporaryDirectory() as folder:
            trainer = self._trainer(rows, folder, learning_rate, clock)
            if self.packed:
                num_packs = len(trainer.train_dataset)
                trainer.args.gradient_accumulation_steps = -(-num_packs // self.micro_batch)
            trainer.train()
        if trainer.state.global_step != 1:
            raise RuntimeError(f"expected one optimizer step, TRL took {trainer.state.global_step}")
        return Timed(clock.watch.wall_s, clock.watch.cpu_s, trainer.loss, trainer.num_computed)

    def _trainer(self, rows: list[dict[str, Any]], folder: str, learning_rate: float, clock: _Clock) -> _Trainer:
        arguments = SFTConfig(
            output_dir=folder,
            per_device_train_batch_size=min(self.micro_batch, len(rows)),
            gradient_accumulation_steps=-(-len(rows) // self.micro_batch),
            packing=self.packed,
            max_length=PACK_TOKENS if self.packed else None,
            num_train_epochs=1,
            learning_rate=learning_rate,
            lr_scheduler_type="constant",
            max_grad_norm=self.config.max_grad_norm,
            train_sampling_strategy="sequential",
            gradient_checkpointing=False,
            bf16=False,
            use_cpu=True,
            save_strategy="no",
            eval_strategy="no",
            report_to="none",
            logging_steps=1,
            disable_tqdm=True,
            seed=self.config.seed,
        )
        scheduler = torch.optim.lr_scheduler.LambdaLR(self.optimizer, lambda _: 1.0)
        return _Trainer(
            model=self.model,
            args=arguments,
            train_dataset=Dataset.from_list(rows),
            processing_class=AutoTokenizer.from_pretrained(model_folder(self.config.model_name_or_path)),
            optimizers=(self.optimizer, scheduler),
            callbacks=[clock],
        )

    def save(self, folder: Path) -> None:
        """Write adapter and optimizer."""
        save_state(self.model, self.optimizer, folder)

    def load(self, folder: Path) -> None:
        """Restore adapter and optimizer."""
        load_state(self.model, self.optimizer, folder)


def start(config: TrainingConfig, micro_batch: int, variant: str) -> _Trl:
    """Load the model; `variant` is "padded" or "packed"."""
    model = peft_model(config)
    return _Trl(model, config, micro_batch, variant == "packed", new_optimizer(model, config))
