"""One pass through the decoder: segments of a prefix tree against the K and V of the trunks above them.

mlx-lm's layers do the work. A `PassCache` stands where they expect a cache: it gives them positions by depth and the
trunks' K and V, and keeps the pass's own.

Shape legend: N tokens of a pass, P of the trunks above it, G key-value heads, D head size.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import mlx.core as mx

from weatherman.engine.mlx.lora import Adapter, LayerWeights
from weatherman.engine.mlx.rotary import DepthRope, Depths

KeyValue = tuple[mx.array, mx.array]
TrunkLayers = list[KeyValue]


@dataclass(slots=True)
class Decoder:
    """The parts of a causal language model that a step calls.

    Attributes:
        model: mlx-lm's, with adapted projections.
        adapter: the adapter's weights and dropout.
        vocabulary: rows of the output head.
        recompute: recompute each layer in its backward pass.
        rope: the rotary module of every layer.
        dtype: of activations, K and V.
    """

    model: Any
    adapter: Adapter
    vocabulary: int
    recompute: bool
    rope: DepthRope
    dtype: mx.Dtype

    def key_value_shape(self, num_tokens: int) -> tuple[int, ...]:
        """The shape [1, G, num_tokens, D] of a layer's K or V."""
        return (1, self.model.layers[0].self_attn.n_kv_heads, num_tokens, self.rope.head_dim)

    @property
    def head(self) -> Any:
        """Hidden states to logits."""
        inner = self.model
        return inner.lm_head if "lm_head" in inner else inner.model.embed_tokens.as_linear


@dataclass(slots=True)
class PassCache:
    """What one layer of one pass attends to besides its own tokens.

    Attributes:
        offset: the tokens' positions, where mlx-lm looks for a number.
        past: K and V [1, G, n, D] of each trunk above, root first, in this layer.
        own: this pass's K and V, once the layer has run.
    """

    offset: Depths
    past: list[KeyValue]
    own: KeyValue = field(init=False)

    def update_and_fetch(self, keys: mx.array, values: mx.array) -> KeyValue:
        """Keep the pass's K and V, and give them with the trunks' before them."""
        self.own = (keys, values)
        if not self.past:
            return keys, values
        return (
            mx.concatenate([*(key for key, _ in self.past), keys], axis=2),
            mx.concatenate([*(value for _, value in self.past), values], axis=2),
        )


@dataclass(frozen=True, slots=True)
class PassInput:
    """The tokens of a pass: `ids` int32 [1, N], `depths` of [N], `mask` bool [N, P + N] (true: seen)."""

    ids: mx.array
    depths: Depths
    mask: mx.array


def run_layers(
    decoder: Decoder, given: PassInput, weights: list[LayerWeights], past: list[TrunkLayers]
) -> tuple[mx.array, TrunkLayers]:
    """Run a pass through all layers.

    Args:
        decoder: the model.
        given: the tokens.
        weights: the adapter's, by layer: its own or a gradient's tracers.
        past: K and V of each trunk above, by layer.

    Returns:
        Hidden states [N, D] after the last norm, and the pass's own K and V by layer.
    """
    inner = decoder.model.model
    hidden = inner.embed_tokens(given.ids)
    own: TrunkLayers = []
    for index, layer in enumerate(inner.layers):

        def one_layer(
            hidden: mx.array, weights: LayerWeights, past: list[KeyValue], layer: Any = layer
        ) -> tuple[mx.array, mx.array, mx.array]:
            decoder.adapter.in_use = weights  # also when the backward pass runs the layer again
            cache = PassCache(given.depths, past)
            return layer(hidden, given.mask, cache), *cache.own

        run = mx.checkpoint(one_layer) if decoder.recompute else one_layer
        hidden, key, value = run(hidden, weights[index], [trunk[index] for trunk in past])
        own.append((key, value))
    return inner.norm(hidden)[0], own
