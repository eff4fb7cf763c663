"""A step over its prefix tree: trunks once, branches against their detached K and V, gradients exact.

A trunk runs forward once without gradients, and once more, after everything below it, to push the gradients of its K
and V through together with its own loss. One function serves trunks and leaves: the loss, plus each own K and V times
the gradient that came from below. Holding a trunk's trace meanwhile would cost its whole memory.

Shape legend: N tokens of a pass, P of the trunks above it, G key-value heads, D head size.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import mlx.core as mx
import numpy as np
from mlx.utils import tree_map
from numpy.typing import NDArray

from weatherman.engine.mlx.decoder import Decoder, KeyValue, PassInput, TrunkLayers, run_layers
from weatherman.engine.mlx.lora import LayerWeights
from weatherman.engine.mlx.loss import Targets, head_loss
from weatherman.engine.pass_layout import lay_out, visible
from weatherman.steps.passes import Pass
from weatherman.steps.prefix_tree import PrefixTree

Gradients = list[dict[str, list[mx.array]]]


@dataclass(slots=True)
class Trunk:
    """K and V of a trunk by layer, detached, and the float32 sums of the gradients that its branches leave."""

    layers: TrunkLayers
    gradients: list[KeyValue]

    @classmethod
    def detached(cls, layers: TrunkLayers) -> Trunk:
        """Begin with gradients of zero."""
        zero = [(mx.zeros(k.shape, mx.float32), mx.zeros(v.shape, mx.float32)) for k, v in layers]
        return cls(layers, zero)

    def add(self, found: Sequence[Sequence[mx.array]]) -> None:
        """Add what one pass sent up."""
        self.gradients = [
            (key + more_key.astype(mx.float32), value + more_value.astype(mx.float32))
            for (key, value), (more_key, more_value) in zip(self.gradients, found, strict=True)
        ]


@dataclass(slots=True)
class TreeRun:
    """One walk over a tree's passes.

    Attributes:
        decoder: the model.
        tree: the step's tree.
        seed: the run's, for dropout.
        step: its number, for dropout; None for no dropout.
        backward: also sum the gradients of the adapter.
        loss: the step's mean loss over supervised tokens so far, float32.
        gradients: of the adapter's weights so far, by layer; empty before the first.
    """

    decoder: Decoder
    tree: PrefixTree
    seed: int
    step: int | None
    backward: bool
    loss: mx.array = field(default_factory=lambda: mx.array(0.0))
    gradients: Gradients = field(default_factory=list)
    starts: NDArray[np.int64] = field(init=False)

    def __post_init__(self) -> None:
        """Find where each segment begins in the tree's flat order."""
        self.starts = np.cumsum([0, *(len(segment.ids) for segment in self.tree.segments)])

    def run_all(self, passes: Sequence[Pass], past: tuple[Trunk, ...] = ()) -> None:
        """Run passes that have the same trunks above, and everything below them, one after another."""
        for one in passes:
            if one.children:
                self._run_trunk(one, past)
            else:
                self._run_pass(one, past, below=None)
        self.decoder.adapter.use()

    def _run_trunk(self, one: Pass, past: tuple[Trunk, ...]) -> None:
        given, targets = self._prepare(one.segments, past)
        hidden, own = run_layers(self.decoder, given, self.decoder.adapter.weights, [trunk.layers for trunk in past])
        if self.backward:
            mx.eval(own)
        else:
            self.loss = self.loss + self._loss(hidden, targets)
            mx.eval(own, self.loss)
        trunk = Trunk.detached(own)
        del hidden, own
        self.run_all(one.children, (*past, trunk))
        if self.backward:
            self._run_pass(one, past, below=trunk.gradients)

    def _run_pass(self, one: Pass, past: tuple[Trunk, ...], below: list[KeyValue] | None) -> None:
        """Run a pass forward and backward; `below` are the gradients of its own K and V."""
        given, targets = self._prepare(one.segments, past)

        def objective(weights: list[LayerWeights], layers: list[TrunkLayers]) -> tuple[mx.array, mx.array]:
            hidden, own = run_layers(self.decoder, given, weights, layers)
            loss = self._loss(hidden, targets)
            total = loss
            for (key, value), (key_grad, value_grad) in zip(own, below or (), strict=False):
                total = total + (key.astype(mx.float32) * key_grad).sum()
                total = total + (value.astype(mx.float32) * value_grad).sum()
            return total, loss

        weights, layers = self.decoder.adapter.weights, [trunk.layers for trunk in past]
        if not self.backward:
            self.loss = self.loss + objective(weights, layers)[1]
            mx.eval(self.loss)
            return
        (_, loss), (found, sent_up) = mx.value_and_grad(objective, argnums=(0, 1))(weights, layers)
        self.loss = self.loss + loss
        self.gradients = tree_map(mx.add, self.gradients, found) if self.gradients else found
        for trunk, gradients in zip(past, sent_up, strict=True):
            trunk.add(gradients)
        mx.eval(self.loss, self.gradients, [trunk.gradients for trunk in past])

    def _loss(self, hidden: mx.array, targets: Targets) -> mx.array:
        return head_loss(hidden, targets, self.decoder.head, self.decoder.vocabulary)

    def hidden(self, indices: Sequence[int], weights: list[LayerWeights]) -> mx.array:
        """Hidden states [N, D] of segments in one pass with nothing above them."""
        given, _ = self._prepare(indices, ())
        return run_layers(self.decoder, given, weights, [])[0]

    def _prepare(self, indices: Sequence[int], past: tuple[Trunk, ...]) -> tuple[PassInput, Targets]:
        segments = [self.tree.segments[index] for index in indices]
        layout = lay_out(self.tree, indices, sum(trunk.layers[0][0].shape[2] for trunk in past))
        ids = np.concatenate([segment.ids for segment in segments]).astype(np.int32)
        positions = np.concatenate([np.arange(len(s.ids), dtype=np.int64) + s.start for s in segments])
        if self.step is not None:
            places = np.concatenate([np.arange(self.starts[i], self.starts[i + 1]) for i in indices])
            self.decoder.adapter.set_tokens(self.seed, self.step, places)
        given = PassInput(mx.array(ids)[None], self.decoder.rope.depths(positions), mx.array(visible(layout)))
        return given, Targets.of(segments, self.tree.num_supervised_tokens)
