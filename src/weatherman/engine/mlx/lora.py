"""The LoRA adapter on MLX: PEFT's names, shapes and file format, stateless dropout, weights held apart from the model.

Shape legend: N tokens of a pass, D inputs, O outputs, R rank.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import mlx.core as mx
import mlx.nn as nn
import numpy as np
from numpy.typing import NDArray

from weatherman.engine.stateless import place_keys, stateless_seed
from weatherman.errors import WeathermanError

Pair = tuple[mx.array, mx.array]
LayerWeights = dict[str, Pair]
_PREFIX = "base_model.model."
# The order of PEFT, which goes by the model's own: the seed's draws depend on it.
MODULES = {
    "self_attn": ("q_proj", "k_proj", "v_proj", "o_proj"),
    "mlp": ("gate_proj", "up_proj", "down_proj"),
}


@dataclass(slots=True)
class Adapter:
    """What the adapted layers look up when they run.

    Attributes:
        scale: alpha / r.
        dropout: the rate.
        weights: per decoder layer, A [R, D] and B [O, R] by the module's PEFT name; float32.
        enabled: whether the adapter counts.
        token_keys: keys of the tokens at hand, uint32 [N]; None for no dropout.
        in_use: what the layers that run now see: `weights`, or the tracers of a gradient.
    """

    scale: float
    dropout: float
    weights: list[LayerWeights] = field(default_factory=list)
    enabled: bool = True
    token_keys: mx.array | None = None
    in_use: LayerWeights = field(default_factory=dict)

    def use(self, weights: list[LayerWeights] | None = None) -> None:
        """Let the layers see these weights; the adapter's own by default."""
        self.in_use = {name: pair for layer in weights or self.weights for name, pair in layer.items()}

    def set_tokens(self, seed: int, step: int, places: NDArray[np.int64]) -> None:
        """Say which tokens come next, by their places in the tree's flat order."""
        keys = place_keys(stateless_seed(seed, step), places).view(np.uint32)
        self.token_keys = mx.array(keys) if self.dropout else None

    @contextmanager
    def without_dropout(self, *, enabled: bool = True) -> Iterator[None]:
        """Run the layers as after training; with `enabled` false as if there were no adapter."""
        keys, self.token_keys = self.token_keys, None
        before, self.enabled = self.enabled, enabled
        self.use()
        try:
            yield
        finally:
            self.token_keys, self.enabled = keys, before

    def named(self) -> Iterator[tuple[str, mx.array]]:
        """Every parameter by PEFT's name, in the order of the model."""
        for layer in self.weights:
            for name, (a, b) in layer.items():
                yield f"{name}.lora_A", a
                yield f"{name}.lora_B", b

    def replace(self, values: dict[str, mx.array]) -> None:
        """Take new values for every parameter, by the names of `named`."""
        self.weights = [
            {name: (values[f"{name}.lora_A"], values[f"{name}.lora_B"]) for name in layer} for layer in self.weights
        ]
        self.use()


def keep_mask(token_keys_N: mx.array, feature_keys_D: mx.array, rate: float) -> mx.array:
    """Bool [N, D], true with probability 1 - rate: torch's mask of the same keys, in unsigned arithmetic."""
    mixed = token_keys_N[:, None] ^ feature_keys_D
    mixed = (mixed ^ (mixed >> 16)) * mx.array(0x7FEB352D, mx.uint32)
    mixed = (mixed ^ (mixed >> 15)) * mx.array(0x846CA68B, mx.uint32)
    return (mixed ^ mx.array(0x80000000, mx.uint32)) >= mx.array(round(rate * 2**32), mx.uint32)


class LoraLinear(nn.Module):
    """A frozen projection, quantised or not, and its low-rank update.

    Args:
        base: the projection.
        name: as PEFT names it; also part of what its dropout mask depends on.
        adapter: where weights and dropout keys are looked up.
        num_inputs: D.
    """

    def __init__(self, base: nn.Module, name: str, adapter: Adapter, num_inputs: int) -> None:
        super().__init__()
        self.base = base
        self._name, self._adapter = name, adapter
        keys = place_keys(stateless_seed("feature", name), np.arange(num_inputs)).view(np.uint32)
        self._feature_keys = mx.array(keys) if adapter.dropout else None

    def __call__(self, x: mx.array) -> mx.array:
        """Map [1, N, D] to [1, N, O]; the update is computed in float32."""
        output = self.base(x)
        adapter = self._adapter
        if not adapter.enabled:
            return output
        a, b = adapter.in_use[self._name]
        wide = x.astype(mx.float32)
        if adapter.token_keys is not None and self._feature_keys is not None:
            keep = keep_mask(adapter.token_keys, self._feature_keys, adapter.dropout)
            wide = wide * (keep.astype(mx.float32) / (1 - adapter.dropout))
        return (output + adapter.scale * ((wide @ a.T) @ b.T)).astype(output.dtype)


def add_adapter(model: Any, *, rank: int, alpha: int, dropout: float, target_modules: list[str], seed: int) -> Adapter:
    """Wrap the target projections of a model, in place, with a fresh adapter: the one that torch draws from this seed.

    Raises:
        WeathermanError: the model lacks a target module.
    """
    adapter = Adapter(alpha / rank, dropout)
    draw = _TorchUniform(stateless_seed(seed, "lora"))
    for index, layer in enumerate(model.layers):
        weights: LayerWeights = {}
        for part, names in MODULES.items():
            for name in (one for one in names if one in target_modules):
                owner = getattr(layer, part, None)
                base = getattr(owner, name, None)
                if base is None:
                    text = f"cannot attach LoRA: layer {index} of the model has no {part}.{name}."
                    raise WeathermanError("model.target-modules", text)
                num_outputs, num_inputs = linear_shape(base)
                full = f"{_PREFIX}model.layers.{index}.{part}.{name}"
                setattr(owner, name, LoraLinear(base, full, adapter, num_inputs))
                draw.skip(rank * (num_inputs + num_outputs))  # what PEFT draws first and throws away
                a = draw.uniform((rank, num_inputs), num_inputs**-0.5)
                weights[full] = (mx.array(a), mx.zeros((num_outputs, rank)))
        adapter.weights.append(weights)
    adapter.use()
    return adapter


def linear_shape(linear: Any) -> tuple[int, int]:
    """(outputs, inputs) of a projection, quantised or not."""
    num_outputs, width = linear.weight.shape
    return num_outputs, width * 32 // linear.bits if isinstance(linear, nn.QuantizedLinear) else width


class _TorchUniform:
    """PyTorch's uniform floats on a CPU: the low 24 bits of MT19937's words, scaled."""

    def __init__(self, seed: int) -> None:
        self._words = np.random.MT19937()
        self._words.state = np.random.RandomState(seed & 0xFFFFFFFF).get_state(legacy=False)  # type: ignore[assignment]

    def skip(self, num: int) -> None:
        self._words.random_raw(num, output=False)

    def uniform(self, shape: tuple[int, int], bound: float) -> NDArray[np.float32]:
        words = self._words.random_raw(shape[0] * shape[1]) & 0xFFFFFF
        low, high = np.float32(-bound), np.float32(bound)
        wide = words.astype(np.float64) * 2.0**-24 * float(high - low) + float(low)  # fused there: rounded once
        drawn: NDArray[np.float32] = wide.astype(np.float32).reshape(shape)
        return drawn
