"""The torch engine: CPU, Apple's MPS and CUDA behind the `Engine` protocol."""

from __future__ import annotations

import gc
import math
import resource
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import replace
from pathlib import Path

import torch

from weatherman.config.schema import TrainingConfig
from weatherman.engine.base import EngineInfo, Evaluation
from weatherman.engine.stateless import stateless_seed
from weatherman.engine.token_budget import HELD_PASSES, choose_workers
from weatherman.engine.torch.attention import PADDED_ATTENTION, TREE_ATTENTION
from weatherman.engine.torch.crew import Crew
from weatherman.engine.torch.device import choose_device, choose_dtype, choose_kernel, choose_token_budget, device_name
from weatherman.engine.torch.dropout import replace_lora_dropout
from weatherman.engine.torch.fast_layers import speed_up
from weatherman.engine.torch.fast_lora import MergedLora
from weatherman.engine.torch.generate import generate
from weatherman.engine.torch.leak import find_leak
from weatherman.engine.torch.lora import (
    add_adapter,
    load_adapter,
    load_optimizer,
    save_adapter,
    save_optimizer,
    trainable,
)
from weatherman.engine.torch.model import load_model
from weatherman.engine.torch.step import Network, padded_loss, tree_loss
from weatherman.engine.tree_ahead import TreeAhead
from weatherman.errors import WeathermanError
from weatherman.records import Rendered, StepPlan, StepResult
from weatherman.steps.passes import Pass, plan_passes
from weatherman.steps.prefix_tree import MIN_SHARED_TOKENS, PrefixTree, build_tree


class TorchEngine:
    """One causal language model with a LoRA adapter and AdamW.

    Args:
        config: the run's configuration.
        sharing: compute shared prefixes once (the prefix tree); otherwise padded batches.
        stop_token_ids: tokens that end a generated turn.
    """

    def __init__(self, config: TrainingConfig, *, sharing: bool, stop_token_ids: Sequence[int]) -> None:
        if config.num_threads:
            torch.set_num_threads(config.num_threads)
        self._config = config
        self._stop_token_ids = list(stop_token_ids)
        self._device = choose_device(config.device)
        dtype = choose_dtype(config.dtype, self._device)
        base = load_model(config.model_name_or_path, config.model_revision, dtype, self._device)
        if sharing and getattr(base.config, "sliding_window", None):
            raise WeathermanError(
                "model.sliding-window",
                f"{config.model_name_or_path} uses a sliding attention window, which a prefix tree does not support.",
                "set sharing: off.",
            )
        self._model = add_adapter(base, config)
        self._causal = base
        dropout = replace_lora_dropout(self._model, config.lora_dropout) if sharing and config.lora_dropout else None
        merges = self._device.type == "cpu" and MergedLora.suits(self._model, config.lora_dropout)
        self._merged = MergedLora(self._model) if merges else None
        if self._merged and sharing:
            speed_up(self._model, self._merged)
        budget = config.max_tokens_per_chunk or choose_token_budget(
            self._device, dtype, base.config, checkpointing=config.gradient_checkpointing
        )
        kernel = choose_kernel(config.attn_implementation, self._device)
        crew = self._crew(budget) if sharing else None
        self._pass_tokens = budget // crew.num_workers if crew else budget  # workers share the budget
        self._network = Network.of(base, kernel=kernel, dropout=dropout, seed=config.seed, crew=crew)
        if config.gradient_checkpointing:
            base.gradient_checkpointing_enable({"use_reentrant": False})
        self._parameters = [parameter for _, parameter in trainable(self._model)]
        self._optimizer = self._new_optimizer()
        self._trees = TreeAhead(lambda plan: self._build(plan.examples))
        self._info = EngineInfo(
            backend=f"torch {torch.__version__}",
            device=self._device.type,
            device_name=device_name(self._device),
            dtype=str(dtype).removeprefix("torch."),
            attention=self._network.kernel if sharing else "sdpa",
            sharing=sharing,
            num_threads=torch.get_num_threads(),
            num_parameters=sum(p.numel() for p in self._model.parameters() if not p.requires_grad),
            num_trainable_parameters=sum(p.numel() for p in self._parameters),
            max_tokens_per_chunk=budget,
        )

    @property
    def info(self) -> EngineInfo:
        """Facts about the device, the model and the settings in force."""
        return self._info

    def prove_causality(self) -> None:
        """Perturb a future token, and a sibling branch, and see that nothing before it changes.

        Raises:
            WeathermanError: attention on this device lets a token see what it must not.
        """
        with self._inference(TREE_ATTENTION if self._info.sharing else PADDED_ATTENTION):
            leak = find_leak(self._network, self._causal.config.vocab_size, sharing=self._info.sharing)
        if leak:
            raise WeathermanError(
                "engine.leak",
                f"attention on {self._info.device_name} leaks: {leak}.",
                "this PyTorch build computes attention masks wrongly; use another version or device: cpu.",
            )

    def prepare(self, plan: StepPlan) -> None:
        """Begin the work of a step that comes next; `step` gives the same result without it."""
        if self._info.sharing:
            self._trees.prepare(plan)

    def step(self, plan: StepPlan, learning_rate: float) -> StepResult:
        """Run one optimizer step.

        Raises:
            WeathermanError: the loss or the gradient is not finite; nothing was updated.
        """
        self._optimizer.zero_grad(set_to_none=True)
        loss, num_computed = self._tree_step(plan) if self._info.sharing else self._padded_step(plan)
        grad_norm = float(torch.nn.utils.clip_grad_norm_(self._parameters, self._config.max_grad_norm))
        if not math.isfinite(loss) or not math.isfinite(grad_norm):
            raise WeathermanError(
                "train.not-finite",
                f"step {plan.step}: loss {loss} and gradient norm {grad_norm}; the update was not applied.",
                "lower learning_rate, or resume from the last checkpoint with other data.",
            )
        for group in self._optimizer.param_groups:
            group["lr"] = learning_rate
        self._optimizer.step()
        return StepResult(loss, grad_norm, plan.num_supervised_tokens, plan.num_effective_tokens, num_computed)

    def _tree_step(self, plan: StepPlan) -> tuple[float, int]:
        tree = self._trees.tree(plan)
        with self._attention(TREE_ATTENTION):
            loss = tree_loss(self._network, tree, self._cut(tree), backward=True, step=plan.step)
        return loss, tree.num_computed_tokens

    def _build(self, examples: Sequence[Rendered]) -> PrefixTree:
        return build_tree(examples, min_shared_tokens=MIN_SHARED_TOKENS, max_segment_tokens=self._pass_tokens)

    def _new_optimizer(self) -> torch.optim.AdamW:
        config = self._config
        return torch.optim.AdamW(
            self._parameters,
            lr=config.learning_rate,
            betas=(config.adam_beta1, config.adam_beta2),
            eps=config.adam_epsilon,
            weight_decay=config.weight_decay,
            fused=self._device.type in ("cpu", "cuda"),
        )

    def _crew(self, budget: int) -> Crew | None:
        num_threads = torch.get_num_threads()
        num_workers = choose_workers(
            merges=self._merged is not None,
            checkpointing=self._config.gradient_checkpointing,
            budget=budget,
            num_threads=num_threads,
        )
        return Crew.of(num_workers, num_threads)

    def _cut(self, tree: PrefixTree) -> list[Pass]:
        held = None if self._config.gradient_checkpointing else HELD_PASSES * self._pass_tokens
        return plan_passes(tree, self._pass_tokens, held)

    def _padded_step(self, plan: StepPlan) -> tuple[float, int]:
        size, loss, num_computed = self._config.per_device_train_batch_size, 0.0, 0
        with self._attention(PADDED_ATTENTION):
            for begin in range(0, len(plan.examples), size):
                examples = plan.examples[begin : begin + size]
                torch.manual_seed(stateless_seed(self._config.seed, plan.step, begin))
                loss += padded_loss(self._network, examples, plan.num_supervised_tokens, backward=True)
                num_computed += len(examples) * max(len(example.ids) for example in examples)
        return loss, num_computed

    def evaluate(
        self, examples: Sequence[Rendered], progress: Callable[[int], None] | None = None, *, adapter: bool = True
    ) -> Evaluation:
        """Mean loss over the supervised tokens of `examples`, without dropout."""
        total, num_tokens = 0.0, sum(example.num_supervised_tokens for example in examples)
        size = max(self._config.per_device_eval_batch_size, 1)
        with self._inference(TREE_ATTENTION if self._info.sharing else PADDED_ATTENTION), self._adapter(adapter):
            for begin in range(0, len(examples), size):
                batch = examples[begin : begin + size]
                if self._info.sharing:
                    tree = replace(self._build(batch), num_supervised_tokens=num_tokens)
                    total += tree_loss(self._network, tree, self._cut(tree), backward=False)
                else:
                    total += padded_loss(self._network, batch, num_tokens, backward=False)
                if progress:
                    progress(begin + len(batch))
        return Evaluation(total, num_tokens)

    def generate(
        self, prompts: Sequence[Sequence[int]], max_new_tokens: int, *, adapter: bool = True
    ) -> list[list[int]]:
        """Greedy continuations of prompts, up to and without the first stop token."""
        with self._inference("sdpa"), self._adapter(adapter):
            return generate(self._causal, prompts, max_new_tokens, self._stop_token_ids)

    def save_adapter(self, folder: Path) -> None:
        """Write the adapter in PEFT's format."""
        save_adapter(self._model, folder)

    def save_optimizer(self, folder: Path) -> None:
        """Write the optimizer's state as `optimizer.safetensors`."""
        save_optimizer(self._optimizer, self._model, folder / "optimizer.safetensors")

    def load(self, folder: Path) -> None:
        """Restore adapter and optimizer from a checkpoint folder."""
        load_adapter(self._model, folder)
        load_optimizer(self._optimizer, self._model, folder / "optimizer.safetensors")

    def peak_memory_bytes(self) -> int:
        """The most memory in use so far: the device's on CUDA, else the process's resident set."""
        if self._device.type == "cuda":
            return int(torch.cuda.max_memory_allocated(self._device))
        unit = 1 if sys.platform == "darwin" else 1024
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit

    @contextmanager
    def _attention(self, name: str) -> Iterator[None]:
        before = self._causal.config._attn_implementation
        self._causal.config._attn_implementation = name
        try:
            with self._merged.in_use() if self._merged else nullcontext():
                yield
        finally:
            self._causal.config._attn_implementation = before

    @contextmanager
    def _inference(self, attention: str) -> Iterator[None]:
        self._model.eval()
        try:
            with torch.no_grad(), self._attention(attention):
                yield
        finally:
            self._model.train()
            gc.collect()

    @contextmanager
    def _adapter(self, enabled: bool) -> Iterator[None]:
        if enabled:
            yield
        else:
            with self._model.disable_adapter():
                yield
