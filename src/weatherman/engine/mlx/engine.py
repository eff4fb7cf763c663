"""The MLX engine: Apple's Metal, or a CPU, behind the `Engine` protocol."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path

import mlx.core as mx

from weatherman import messages
from weatherman.config.schema import TrainingConfig
from weatherman.engine.base import EngineInfo, Evaluation
from weatherman.engine.mlx import device as devices
from weatherman.engine.mlx import proofs
from weatherman.engine.mlx.adamw import AdamW, clip
from weatherman.engine.mlx.adapter_files import load_adapter, load_optimizer, save_adapter, save_optimizer
from weatherman.engine.mlx.decoder import Decoder
from weatherman.engine.mlx.library import import_mlx_lm
from weatherman.engine.mlx.lora import add_adapter
from weatherman.engine.mlx.model import load_model
from weatherman.engine.mlx.step import TreeRun
from weatherman.engine.tree_ahead import TreeAhead
from weatherman.errors import WeathermanError
from weatherman.models.base_model import model_folder
from weatherman.records import Rendered, StepPlan, StepResult
from weatherman.steps.passes import Pass, plan_passes
from weatherman.steps.prefix_tree import MIN_SHARED_TOKENS, SHARES_NOTHING, PrefixTree, build_tree


class MlxEngine:
    """One causal language model with a LoRA adapter and AdamW.

    Args:
        config: the run's configuration.
        sharing: compute shared prefixes once; otherwise each example is a branch of its own.
        stop_token_ids: tokens that end a generated turn.
    """

    def __init__(self, config: TrainingConfig, *, sharing: bool, stop_token_ids: Sequence[int]) -> None:
        self._config = config
        self._stop_token_ids = list(stop_token_ids)
        self._device = devices.choose_device(config.device)
        devices.limit_memory(self._device)
        dtype = devices.choose_dtype(config.dtype, self._device)
        model, rope = load_model(
            config.model_name_or_path, config.model_revision, dtype, config.quantization, config.max_seq_length
        )
        num_parameters = int(import_mlx_lm().get_total_parameters(model))
        self._adapter = add_adapter(
            model,
            rank=config.lora_r,
            alpha=config.lora_alpha,
            dropout=config.lora_dropout,
            target_modules=list(config.target_modules),
            seed=config.seed,
        )
        recompute = config.gradient_checkpointing
        self._decoder = Decoder(model, self._adapter, model.args.vocab_size, recompute, rope, dtype)
        self._optimizer = AdamW(config.adam_beta1, config.adam_beta2, config.adam_epsilon, config.weight_decay)
        self._optimizer.start(self._adapter.named())
        self._budget = config.max_tokens_per_chunk or devices.choose_token_budget(
            self._device, dtype, model.args, checkpointing=recompute
        )
        self._min_shared = MIN_SHARED_TOKENS if sharing else SHARES_NOTHING
        self._trees = TreeAhead(lambda plan: self._build(plan.examples))
        self._info = EngineInfo(
            backend=f"mlx {version('mlx')}",
            device=self._device,
            device_name=devices.device_name(self._device),
            dtype=str(dtype).removeprefix("mlx.core."),
            attention="sdpa",
            sharing=sharing,
            num_threads=config.num_threads or 1,
            num_parameters=num_parameters,
            num_trainable_parameters=sum(value.size for _, value in self._adapter.named()),
            max_tokens_per_chunk=self._budget,
        )

    @property
    def info(self) -> EngineInfo:
        """Facts about the device, the model and the settings in force."""
        return self._info

    def prove_causality(self) -> None:
        """Prove, on this device, what an exact step needs, and try the largest pass where it may end the process.

        That is causality inside a gradient's trace, the gradient through each quantised product, and a tree's step.

        Raises:
            WeathermanError: one of them does not hold.
        """
        decoder, name = self._decoder, self._info.device_name
        with self._adapter.without_dropout(), devices.metal_errors(self._budget):
            proofs.prove_causality(decoder, name)
            proofs.prove_quantised_backward(decoder.model, decoder.dtype, name)
            proofs.prove_step(decoder, decoder.dtype, name)
            if self._device == "metal":
                self._try_largest_pass()

    def _try_largest_pass(self) -> None:
        tag = f"TRAINING-{self._config.platform.upper()}"
        messages.say(tag, f"Trying the largest pass, {self._budget:,} tokens: Metal ends a process that it cannot hold")
        peak = proofs.try_largest_pass(self._decoder, self._budget, self._config.max_seq_length)
        messages.say(tag, f"The largest pass fits: {peak / 2**30:.1f} GB at its peak")

    def prepare(self, plan: StepPlan) -> None:
        """Begin the work of a step that comes next; `step` gives the same result without it."""
        self._trees.prepare(plan)

    def step(self, plan: StepPlan, learning_rate: float) -> StepResult:
        """Run one optimizer step.

        Raises:
            WeathermanError: the loss or the gradient is not finite; nothing was updated.
        """
        tree = self._trees.tree(plan)
        run = TreeRun(self._decoder, tree, self._config.seed, plan.step, backward=True)
        with devices.metal_errors(self._budget):
            run.run_all(self._cut(tree))
        loss = float(run.loss)
        gradients, grad_norm = clip(self._named_gradients(run), self._config.max_grad_norm)
        if not math.isfinite(loss) or not math.isfinite(grad_norm):
            raise WeathermanError(
                "train.not-finite",
                f"step {plan.step}: loss {loss} and gradient norm {grad_norm}; the update was not applied.",
                "lower learning_rate, or resume from the last checkpoint with other data.",
            )
        if gradients:
            self._adapter.replace(self._optimizer.update(dict(self._adapter.named()), gradients, learning_rate))
        return StepResult(
            loss, grad_norm, plan.num_supervised_tokens, plan.num_effective_tokens, tree.num_computed_tokens
        )

    def _named_gradients(self, run: TreeRun) -> dict[str, mx.array]:
        return {
            f"{name}.{part}": gradient
            for layer in run.gradients
            for name, pair in layer.items()
            for part, gradient in zip(("lora_A", "lora_B"), pair, strict=True)
        }

    def _build(self, examples: Sequence[Rendered]) -> PrefixTree:
        return build_tree(examples, min_shared_tokens=self._min_shared, max_segment_tokens=self._budget)

    def _cut(self, tree: PrefixTree) -> list[Pass]:
        return plan_passes(tree, self._budget)

    def evaluate(
        self, examples: Sequence[Rendered], progress: Callable[[int], None] | None = None, *, adapter: bool = True
    ) -> Evaluation:
        """Mean loss over the supervised tokens of `examples`, without dropout."""
        total, num_tokens = 0.0, sum(example.num_supervised_tokens for example in examples)
        size = max(self._config.per_device_eval_batch_size, 1)
        with self._adapter.without_dropout(enabled=adapter):
            for begin in range(0, len(examples), size):
                batch = examples[begin : begin + size]
                tree = replace(self._build(batch), num_supervised_tokens=num_tokens)
                run = TreeRun(self._decoder, tree, self._config.seed, None, backward=False)
                run.run_all(self._cut(tree))
                total += float(run.loss)
                if progress:
                    progress(begin + len(batch))
        return Evaluation(total, num_tokens)

    def generate(
        self, prompts: Sequence[Sequence[int]], max_new_tokens: int, *, adapter: bool = True
    ) -> list[list[int]]:
        """Greedy continuations of prompts, up to and without the first stop token."""
        from weatherman.engine.mlx.generate import generate

        with self._adapter.without_dropout(enabled=adapter):
            return generate(self._decoder.model, prompts, max_new_tokens, self._stop_token_ids)

    def save_adapter(self, folder: Path) -> None:
        """Write the adapter in PEFT's format."""
        save_adapter(self._adapter, self._config, str(model_folder(self._config.model_name_or_path)), folder)

    def save_optimizer(self, folder: Path) -> None:
        """Write the optimizer's state as `optimizer.safetensors`."""
        save_optimizer(self._optimizer, folder)

    def load(self, folder: Path) -> None:
        """Restore adapter and optimizer from a checkpoint folder."""
        load_adapter(self._adapter, folder)
        load_optimizer(self._optimizer, folder)

    def peak_memory_bytes(self) -> int:
        """The most memory in use so far: MLX's own on Metal, else the process's resident set."""
        return devices.peak_memory_bytes(self._device)
