"""One cell of the GPU comparison in a process of its own: `python -m benchmarks.gpu_cell CELL`, CELL as JSON.

The model has Mistral-7B's shape and random weights, which cost the same as trained ones: nothing is downloaded. The
steps are those of `engine/torch/step.py`, over the shipped data in Mistral's template.
"""

from __future__ import annotations

import gc
import json
import math
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from typing import Any, Literal

import torch
from peft import PeftModel
from torch import nn
from transformers import MistralConfig, MistralForCausalLM, PreTrainedModel

from benchmarks.gpu_data import gpu_plans
from weatherman.config.schema import TrainingConfig
from weatherman.engine.token_budget import HELD_PASSES
from weatherman.engine.torch.attention import PADDED_ATTENTION, TREE_ATTENTION
from weatherman.engine.torch.device import choose_token_budget
from weatherman.engine.torch.lora import add_adapter, trainable
from weatherman.engine.torch.step import Network, padded_loss, tree_loss
from weatherman.records import StepPlan
from weatherman.steps.passes import plan_passes
from weatherman.steps.prefix_tree import MIN_SHARED_TOKENS, PrefixTree, build_tree

MISTRAL_7B = {
    "vocab_size": 32768, "hidden_size": 4096, "intermediate_size": 14336, "num_hidden_layers": 32,
    "num_attention_heads": 32, "num_key_value_heads": 8, "head_dim": 128,
}  # fmt: skip
TINY = {
    "vocab_size": 32768, "hidden_size": 64, "intermediate_size": 128, "num_hidden_layers": 2,
    "num_attention_heads": 4, "num_key_value_heads": 2, "head_dim": 16,
}  # fmt: skip
PARITY_LAYERS = 8
TIMED_STEPS = 3
_NEVER_SHARED = 2**31


@dataclass(frozen=True, slots=True)
class Cell:
    """One combination.

    Attributes:
        weights: the frozen base: bfloat16, or 4-bit with bfloat16 products (QLoRA).
        batches: "padded" micro-batches, "packed" (every example on its own, no padding) or the prefix "tree".
        kernel: the attention of packed and tree.
        recompute: activation recomputation.
        parity: compare loss and gradients with float32 instead of timing.
        tiny: a tiny model on the CPU, to try the program.
    """

    weights: Literal["bf16", "qlora"]
    batches: Literal["padded", "packed", "tree"]
    kernel: Literal["sdpa", "flex", "flash"]
    recompute: bool = False
    parity: bool = False
    tiny: bool = False

    @property
    def name(self) -> str:
        """The cell in words."""
        words = [self.weights, self.batches, self.kernel]
        words += ["recomputed"] * self.recompute + ["parity"] * self.parity
        return " ".join(words)

    @property
    def device(self) -> torch.device:
        """Where it runs."""
        return torch.device("cpu" if self.tiny else "cuda")


def run_cell(cell: Cell) -> dict[str, Any]:
    """Measure a cell.

    Args:
        cell: which.

    Returns:
        Its figures, as plain JSON values.

    Raises:
        ImportError: a package that it needs is missing.
    """
    if cell.kernel == "flash":
        import flash_attn  # noqa: F401
    plans, tokens_are = gpu_plans(1 + TIMED_STEPS, tiny=cell.tiny)
    figures = _parity(cell, plans[0]) if cell.parity else _speed(cell, plans)
    return {**figures, "tokens_are": tokens_are}


def make_model(cell: Cell, dtype: torch.dtype, num_layers: int | None = None) -> PeftModel:
    """Make the model with random weights and a LoRA adapter as the H100's configuration has it."""
    shape = dict(TINY if cell.tiny else MISTRAL_7B)
    if num_layers is not None:
        shape["num_hidden_layers"] = min(num_layers, shape["num_hidden_layers"])
    config = MistralConfig(**shape, sliding_window=None, max_position_embeddings=32768, tie_word_embeddings=False)
    torch.manual_seed(0)
    before = torch.get_default_dtype()
    torch.set_default_dtype(dtype)
    try:
        with cell.device:
            base: PreTrainedModel = MistralForCausalLM(config)
    finally:
        torch.set_default_dtype(before)
    base.requires_grad_(False)
    if cell.weights == "qlora":
        _quantise(base)
    if cell.recompute:
        base.gradient_checkpointing_enable({"use_reentrant": False})
    base.train()
    return add_adapter(base, TrainingConfig(lora_r=16, lora_alpha=32, lora_dropout=0.0))


def _quantise(base: PreTrainedModel) -> None:
    """Put 4-bit layers in the place of the decoder's linear ones."""
    import bitsandbytes as bnb

    for parent in list(base.model.modules()):
        for name, linear in list(parent.named_children()):
            if isinstance(linear, nn.Linear):
                small = bnb.nn.Linear4bit(
                    linear.in_features, linear.out_features, bias=False,
                    compute_dtype=torch.bfloat16, quant_type="nf4",
                )  # fmt: skip
                weight = linear.weight.data.cpu()
                small.weight = bnb.nn.Params4bit(weight, requires_grad=False, quant_type="nf4")
                setattr(parent, name, small.to(base.device))
    base.is_loaded_in_4bit = True


@contextmanager
def attention(base: PreTrainedModel, name: str) -> Iterator[None]:
    """Use an attention of transformers' interface."""
    before = base.config._attn_implementation
    base.config._attn_implementation = name
    try:
        yield
    finally:
        base.config._attn_implementation = before


@dataclass(slots=True)
class _Stepper:
    """Forward and backward of a step, the way of a cell."""

    cell: Cell
    base: PreTrainedModel
    budget: int
    micro_batch: int = 4

    def gradients(self, plan: StepPlan) -> tuple[float, int]:
        """Leave the gradients in the parameters; the loss and the computed tokens."""
        network = Network.of(self.base, kernel=self.cell.kernel)
        if self.cell.batches == "padded":
            return self._padded(network, plan)
        tree = self.tree(plan)
        held = None if self.cell.recompute else HELD_PASSES * self.budget
        with attention(self.base, TREE_ATTENTION):
            loss = tree_loss(network, tree, plan_passes(tree, self.budget, held), backward=True)
        return loss, tree.num_computed_tokens

    def tree(self, plan: StepPlan) -> PrefixTree:
        """The step's tree, which shares nothing when the cell is packed."""
        shared = _NEVER_SHARED if self.cell.batches == "packed" else MIN_SHARED_TOKENS
        return build_tree(plan.examples, min_shared_tokens=shared, max_segment_tokens=self.budget)

    def _padded(self, network: Network, plan: StepPlan) -> tuple[float, int]:
        loss, num_computed = 0.0, 0
        with attention(self.base, PADDED_ATTENTION):
            for begin in range(0, len(plan.examples), self.micro_batch):
                examples = plan.examples[begin : begin + self.micro_batch]
                loss += padded_loss(network, examples, plan.num_supervised_tokens, backward=True)
                num_computed += len(examples) * max(len(example.ids) for example in examples)
        return loss, num_computed


def _speed(cell: Cell, plans: list[StepPlan]) -> dict[str, Any]:
    model = make_model(cell, torch.bfloat16)
    base: PreTrainedModel = model.get_base_model()  # type: ignore[assignment]
    budget = choose_token_budget(cell.device, torch.bfloat16, base.config, checkpointing=cell.recompute)
    stepper = _Stepper(cell, base, budget)
    parameters = [parameter for _, parameter in trainable(model)]
    optimizer = torch.optim.AdamW(parameters, lr=2e-4, fused=True)
    steps = []
    for number, plan in enumerate(plans):
        began_s = _now(cell.device)
        optimizer.zero_grad(set_to_none=True)
        loss, num_computed = stepper.gradients(plan)
        torch.nn.utils.clip_grad_norm_(parameters, 1.0)
        optimizer.step()
        if number:  # the first compiles and warms up
            steps.append(
                {
                    "wall_s": _now(cell.device) - began_s,
                    "loss": loss,
                    "effective_tokens": plan.num_effective_tokens,
                    "computed_tokens": num_computed,
                }
            )
    peak = torch.cuda.max_memory_allocated() if cell.device.type == "cuda" else None
    return {"steps": steps, "max_tokens_per_chunk": budget, "peak_bytes": peak}


def _parity(cell: Cell, plan: StepPlan) -> dict[str, Any]:
    """Loss and LoRA gradient of fewer layers in bfloat16, by this cell, against float32 padded batches."""
    reference = Cell("bf16", "padded", "sdpa", tiny=cell.tiny)
    wanted_loss, wanted = _gradient(reference, plan, torch.float32)
    loss, gradient = _gradient(cell, plan, torch.bfloat16)
    return {
        "layers": PARITY_LAYERS,
        "loss": loss,
        "float32_loss": wanted_loss,
        "relative_loss_difference": abs(loss - wanted_loss) / abs(wanted_loss),
        "relative_gradient_difference": float((gradient - wanted).norm() / wanted.norm()),
    }


def _gradient(cell: Cell, plan: StepPlan, dtype: torch.dtype) -> tuple[float, torch.Tensor]:
    model = make_model(cell, torch.bfloat16, PARITY_LAYERS)
    base: PreTrainedModel = model.get_base_model()  # type: ignore[assignment]
    generator = torch.Generator().manual_seed(1)
    for name, parameter in trainable(model):
        if "lora_B" in name:  # at zero it would hide A's gradient
            drawn = torch.randn(parameter.shape, generator=generator) / math.sqrt(parameter.shape[1]) / 50
            parameter.data.copy_(drawn)
    if dtype == torch.float32:
        base.float()
    loss, _ = _Stepper(cell, base, budget=4096, micro_batch=1).gradients(plan)
    gradient = torch.cat([p.grad.float().cpu().flatten() for _, p in trainable(model) if p.grad is not None])
    del model, base
    gc.collect()
    if cell.device.type == "cuda":
        torch.cuda.empty_cache()
    return loss, gradient


def _now(device: torch.device) -> float:
    if device.type == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter()


def to_json(cell: Cell) -> str:
    """A cell as a command's argument."""
    return json.dumps(asdict(cell))


if __name__ == "__main__":
    print(json.dumps(run_cell(Cell(**json.loads(sys.argv[1])))))
