"""Tiny random models with a LoRA adapter, made in memory from a config; and random examples that share prefixes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from hypothesis import strategies as st
from peft import LoraConfig, PeftModel, get_peft_model
from torch import Tensor
from transformers import LlamaConfig, LlamaForCausalLM, MistralConfig, MistralForCausalLM, PreTrainedModel

from weatherman.engine.torch.attention import PADDED_ATTENTION, TREE_ATTENTION
from weatherman.engine.torch.crew import Crew
from weatherman.engine.torch.dropout import replace_lora_dropout
from weatherman.engine.torch.step import Network, padded_loss, tree_loss
from weatherman.records import Rendered
from weatherman.steps.passes import plan_passes
from weatherman.steps.prefix_tree import build_tree

MODULES = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]
VOCABULARY = 64


def tiny_base(
    family: str = "llama", num_key_value_heads: int = 2, vocab_size: int = VOCABULARY, **changes: Any
) -> PreTrainedModel:
    sizes: dict[str, Any] = {
        "vocab_size": vocab_size,
        "hidden_size": 32,
        "intermediate_size": 48,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "num_key_value_heads": num_key_value_heads,
        "max_position_embeddings": 2048,
        "initializer_range": 0.2,  # large, so that attention is far from uniform
        "tie_word_embeddings": family == "llama",
    } | changes
    torch.manual_seed(0)
    if family == "llama":
        return LlamaForCausalLM(LlamaConfig(**sizes)).requires_grad_(False)
    return MistralForCausalLM(MistralConfig(sliding_window=None, **sizes)).requires_grad_(False)


def widen_norms(model: torch.nn.Module, dtype: torch.dtype) -> None:
    """Let RMS norms compute in `dtype`: transformers' own always round to float32, which hides errors below 1e-7."""
    for parent in list(model.modules()):
        for name, norm in parent.named_children():
            if type(norm).__name__.endswith("RMSNorm"):
                wide = torch.nn.RMSNorm(len(norm.weight), eps=norm.variance_epsilon, dtype=dtype)
                wide.weight.data.copy_(norm.weight)
                setattr(parent, name, wide.requires_grad_(False))


def randomise_lora_b(model: torch.nn.Module, seed: int = 1) -> None:
    """B is zero at first, and then A's gradient is zero too and proves nothing."""
    generator = torch.Generator().manual_seed(seed)
    for name, parameter in model.named_parameters():
        if "lora_B" in name:
            parameter.data.copy_(torch.randn(parameter.shape, generator=generator) * 0.2)


class TinyModel:
    """A tiny model with LoRA, and its loss and gradients in every way that a step can be computed."""

    def __init__(
        self,
        family: str = "llama",
        num_key_value_heads: int = 2,
        dtype: torch.dtype = torch.float64,
        *,
        dropout: float = 0.0,
        checkpointing: bool = False,
        kernel: str = "sdpa",
        **changes: Any,
    ) -> None:
        self.base = tiny_base(family, num_key_value_heads, **changes)
        lora = LoraConfig(r=4, lora_alpha=8, lora_dropout=dropout, target_modules=MODULES, task_type="CAUSAL_LM")
        self.model: PeftModel = get_peft_model(self.base, lora)  # type: ignore[assignment]
        self.model.to(dtype).train()
        if dtype == torch.float64:
            widen_norms(self.model, dtype)
        randomise_lora_b(self.model)
        if checkpointing:
            self.base.gradient_checkpointing_enable({"use_reentrant": False})
        state = replace_lora_dropout(self.model, dropout) if dropout else None
        self.network = Network.of(self.base, kernel=kernel, dropout=state, seed=3)

    @property
    def parameters(self) -> dict[str, Tensor]:
        return {name: p for name, p in self.model.named_parameters() if p.requires_grad}

    @contextmanager
    def attention(self, name: str) -> Any:
        before = self.base.config._attn_implementation
        self.base.config._attn_implementation = name
        yield
        self.base.config._attn_implementation = before

    def gradients(self, loss: Callable[[], float]) -> tuple[float, dict[str, Tensor]]:
        self.model.zero_grad(set_to_none=True)
        value = loss()
        grads = {}
        for name, parameter in self.parameters.items():
            assert parameter.grad is not None, name
            grads[name] = parameter.grad.clone()
        assert all(p.grad is None for p in self.model.parameters() if not p.requires_grad)
        return value, grads

    def padded(self, examples: Sequence[Rendered], micro_batch: int | None = None) -> tuple[float, dict[str, Tensor]]:
        size = micro_batch or len(examples)
        num_supervised = sum(example.num_supervised_tokens for example in examples)
        with self.attention(PADDED_ATTENTION):
            return self.gradients(
                lambda: sum(
                    padded_loss(self.network, examples[begin : begin + size], num_supervised, backward=True)
                    for begin in range(0, len(examples), size)
                )
            )

    def tree(
        self,
        examples: Sequence[Rendered],
        budget: int | None = None,
        held: int | None = None,
        *,
        min_shared: int = 1,
        step: int = 1,
        crew: Crew | None = None,
    ) -> tuple[float, dict[str, Tensor]]:
        network = replace(self.network, crew=crew)
        tree = build_tree(examples, min_shared_tokens=min_shared, max_segment_tokens=budget)
        passes = plan_passes(tree, budget, held)
        with self.attention(TREE_ATTENTION):
            return self.gradients(lambda: tree_loss(network, tree, passes, backward=True, step=step))


def assert_same(
    found: tuple[float, dict[str, Tensor]], expected: tuple[float, dict[str, Tensor]], tolerance: float
) -> None:
    """Loss, each gradient and the global norm agree; a gradient's scale is at least 1 % of the largest one's."""
    assert abs(found[0] - expected[0]) <= tolerance * abs(expected[0])
    assert found[1].keys() == expected[1].keys()
    norms = {name: float(gradient.double().norm()) for name, gradient in expected[1].items()}
    assert min(norms.values()) > 0
    for name, gradient in expected[1].items():
        difference = float((found[1][name].double() - gradient.double()).norm())
        assert difference <= tolerance * max(norms[name], 0.01 * max(norms.values())), (name, difference, norms[name])
    total = sum(norm**2 for norm in norms.values()) ** 0.5
    total_found = sum(float(gradient.double().norm()) ** 2 for gradient in found[1].values()) ** 0.5
    assert abs(total_found - total) <= tolerance * total


def rendered(ids: Sequence[int], mask: Sequence[int | bool]) -> Rendered:
    return Rendered(np.array(ids, np.int32), np.array(mask, np.bool_))


@st.composite
def forests(draw: st.DrawFn) -> list[Rendered]:
    """A few examples that share prefixes at several depths, with random masks; something is supervised."""
    tokens = st.integers(0, VOCABULARY - 1)
    pool = [draw(st.lists(tokens, min_size=1, max_size=40))]
    for _ in range(draw(st.integers(0, 5))):
        parent = draw(st.sampled_from(pool))
        cut = draw(st.integers(0, len(parent)))
        pool.append(parent[:cut] + draw(st.lists(tokens, min_size=0 if cut else 1, max_size=20)))
    examples = [
        rendered(ids, [False, *draw(st.lists(st.booleans(), min_size=len(ids) - 1, max_size=len(ids) - 1))])
        for ids in pool
    ]
    first = next((index for index, ids in enumerate(pool) if len(ids) > 2), None)
    if first is None:
        return [rendered([1, 2, 3, 4], [0, 0, 1, 1])]
    examples[first].mask[-1] = True
    return examples


def conversations(num_shared: int, num_own: int, num_rows: int, vocab_size: int = VOCABULARY) -> list[Rendered]:
    """Rows like the shipped data's: a long shared prefix, then each its own tokens, two spans of them supervised."""
    generator = np.random.default_rng(5)
    shared = generator.integers(0, vocab_size, num_shared)
    rows = []
    for row in range(num_rows):
        own = generator.integers(0, vocab_size, num_own + 3 * row)
        mask = np.zeros(num_shared + len(own), np.bool_)
        mask[num_shared + 4 : num_shared + 9] = True
        mask[-7:] = True
        rows.append(rendered(np.concatenate([shared, own]), mask))
    return rows


def save_tiny_base(folder: Path, **changes: Any) -> Path:
    tiny_base(**changes).save_pretrained(folder)
    return folder
