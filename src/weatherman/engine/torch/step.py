"""Loss and gradients of one step: over its prefix tree, or over padded batches (the reference).

Both give ``sum_e sum_t mask * CE / sum_e sum_t mask``, divided once by the step's supervised tokens. They leave the
gradients in the trainable parameters' `.grad`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import partial

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from transformers import PreTrainedModel

from weatherman.engine.attention_choice import Kernel
from weatherman.engine.pass_layout import lay_out
from weatherman.engine.torch.attention import TreeContext, TreeKernel, TrunkLayer
from weatherman.engine.torch.crew import Crew, GradientSink, share_out
from weatherman.engine.torch.dropout import DropoutState
from weatherman.engine.torch.kernels import prepare_kernel
from weatherman.engine.torch.loss import Head, head_loss
from weatherman.engine.torch.parts import output_head, query_groups, text_decoder
from weatherman.records import Rendered
from weatherman.steps.passes import Pass
from weatherman.steps.prefix_tree import PrefixTree, pad

Past = tuple[Sequence[TrunkLayer], ...]


@dataclass(frozen=True, slots=True)
class Network:
    """The parts of a causal language model that a step calls.

    Attributes:
        decoder: maps ids to hidden states.
        head: the output head.
        num_query_groups: query heads per key-value head.
        kernel: the tree's attention: "sdpa", "flex" or "flash".
        dropout: where LoRA's dropout finds the tokens at hand; None with PEFT's own.
        seed: the run's, for dropout.
        trainable: the parameters that learn.
        crew: computes branches of a tree side by side; None for one after another.
    """

    decoder: nn.Module
    head: Head
    num_query_groups: int
    kernel: Kernel = "sdpa"
    dropout: DropoutState | None = None
    seed: int = 0
    trainable: tuple[Tensor, ...] = ()
    crew: Crew | None = None

    def __post_init__(self) -> None:
        """Refuse a crew that would share state between its passes, or lose their gradients."""
        if self.crew and (self.dropout is not None or not self.trainable):
            raise ValueError("a crew needs the trainable parameters, and no dropout")

    @classmethod
    def of(
        cls,
        model: PreTrainedModel,
        *,
        kernel: Kernel = "sdpa",
        dropout: DropoutState | None = None,
        seed: int = 0,
        crew: Crew | None = None,
    ) -> Network:
        """Take the parts of a causal language model, of the text part where there are others."""
        decoder = text_decoder(model)
        trainable = tuple(parameter for parameter in model.parameters() if parameter.requires_grad)
        return cls(decoder, output_head(model), query_groups(decoder), kernel, dropout, seed, trainable, crew)

    @property
    def device(self) -> torch.device:
        """Where the model is."""
        return self.head.weight.device

    def send(self, array: NDArray[np.generic]) -> Tensor:
        """Copy an array of ids, places or positions to the device."""
        return torch.from_numpy(array).to(self.device)

    def weighted_loss(self, hidden_TD: Tensor, places: NDArray[np.int64], target: NDArray, weight: NDArray) -> Tensor:
        """Sum the weighted cross-entropies of `target` after the hidden states at `places`."""
        wide = torch.promote_types(self.head.weight.dtype, torch.float32)
        hidden_KD = hidden_TD.index_select(0, self.send(places))
        return head_loss(hidden_KD, self.head, self.send(target), torch.from_numpy(weight).to(wide).to(self.device))


def padded_loss(network: Network, examples: Sequence[Rendered], num_supervised_tokens: int, *, backward: bool) -> float:
    """Loss of one padded micro-batch, as its part of the step's mean.

    Args:
        network: the model, its attention set to the padded one.
        examples: the micro-batch.
        num_supervised_tokens: the divisor: the whole step's.
        backward: also add the gradients.

    Returns:
        The micro-batch's part of the step's loss.
    """
    batch = pad(examples)
    output = network.decoder(
        input_ids=network.send(batch.ids), attention_mask=network.send(batch.attention), use_cache=False
    )
    rows, columns = np.nonzero(batch.supervised[:, 1:])
    loss = network.weighted_loss(
        output.last_hidden_state.flatten(0, 1),
        rows * batch.ids.shape[1] + columns,
        batch.ids[rows, columns + 1],
        np.full(len(rows), 1 / max(1, num_supervised_tokens)),
    )
    if backward and loss.requires_grad:
        loss.backward()
    return float(loss.detach())


def tree_loss(network: Network, tree: PrefixTree, passes: Sequence[Pass], *, backward: bool, step: int = 0) -> float:
    """Loss of a step over its prefix tree.

    Args:
        network: the model, its attention set to the tree's.
        tree: the step's tree.
        passes: how it is cut (`plan_passes`).
        backward: also add the gradients.
        step: its number, for dropout.

    Returns:
        The step's mean loss over supervised tokens.
    """
    return _TreeRun(network, tree, step, backward, network.crew).run_all(passes, ())


def tree_hidden(network: Network, tree: PrefixTree) -> Tensor:
    """Hidden states [N, D] of a whole tree in its flat order, in one pass."""
    segments = tuple(range(len(tree.segments)))
    hidden_ND, _ = _TreeRun(network, tree, 0, backward=False, crew=None).forward(segments, (), capture=False)
    return hidden_ND


@dataclass(slots=True)
class _TreeRun:
    """One walk over a tree's passes; a worker's walk has no crew, and a sink for its gradients."""

    network: Network
    tree: PrefixTree
    step: int
    backward: bool
    crew: Crew | None
    sink: GradientSink | None = None
    starts: NDArray[np.int64] = field(init=False)

    def __post_init__(self) -> None:
        """Find where each segment begins in the tree's flat order."""
        self.starts = np.cumsum([0, *(len(segment.ids) for segment in self.tree.segments)])

    def run_all(self, passes: Sequence[Pass], past: Past) -> float:
        """Run passes that have the same trunks above, and everything below them."""
        if self.crew is None or len(passes) < 2:
            return sum(self.run(one, past) for one in passes)
        shares = share_out([self._num_tokens(one) for one in passes], self.crew.num_workers)
        walks = [replace(self, crew=None, sink=GradientSink(self.network.trainable)) for _ in shares]
        views = [tuple([layer.apart() for layer in trunk] for trunk in past) for _ in shares]
        losses = self.crew.run(
            [
                partial(walk.run_all, [passes[place] for place in share], view)
                for walk, share, view in zip(walks, shares, views, strict=True)
            ],
            gradients=self.backward,
        )
        for walk, view in zip(walks, views, strict=True):
            if walk.sink is not None:
                walk.sink.flush_to_grad()
            for trunk, own in zip(past, view, strict=True):
                for layer, part in zip(trunk, own, strict=True):
                    layer.take_gradients(part)
        return sum(losses)

    def _num_tokens(self, one: Pass) -> int:
        own = sum(len(self.tree.segments[index].ids) for index in one.segments)
        return own + sum(map(self._num_tokens, one.children))

    def run(self, one: Pass, past: Past) -> float:
        """Run a pass and everything below it; the gradients of the trunks above are left in their buffers."""
        if not one.children:
            loss, _ = self._loss(one, past, capture=False)
            if self.backward and loss.requires_grad:
                self._backward([loss], [None], past)
            return float(loss.detach())
        with torch.set_grad_enabled(self.backward and not one.recompute):
            loss, context = self._loss(one, past, capture=True)
        trunk = [
            TrunkLayer.detached(*context.captured[layer], requires_grad=self.backward)
            for layer in range(len(context.captured))
        ]
        total = float(loss.detach()) + self.run_all(one.children, (*past, trunk))
        if self.backward:
            if one.recompute:
                loss, context = self._loss(one, past, capture=True)
            self._push_through(one, past, loss, context, trunk)
        return total

    def _loss(self, one: Pass, past: Past, *, capture: bool) -> tuple[Tensor, TreeContext]:
        hidden_ND, context = self.forward(one.segments, past, capture=capture)
        segments = [self.tree.segments[index] for index in one.segments]
        offsets = np.cumsum([0, *(len(segment.ids) for segment in segments)])
        places = [segment.context + offset for segment, offset in zip(segments, offsets, strict=False)]
        loss = self.network.weighted_loss(
            hidden_ND,
            np.concatenate(places),
            np.concatenate([segment.target for segment in segments]),
            np.concatenate([segment.weight for segment in segments]) / max(1, self.tree.num_supervised_tokens),
        )
        return loss, context

    def forward(self, indices: Sequence[int], past: Past, *, capture: bool) -> tuple[Tensor, TreeContext]:
        """Run segments through the decoder; hidden states [N, D] and the context with what was captured."""
        segments = [self.tree.segments[index] for index in indices]
        context = TreeContext(self._kernel(indices, past), past, capture)
        self._set_dropout(indices)
        ids = np.concatenate([segment.ids for segment in segments]).astype(np.int64)
        positions = np.concatenate([np.arange(len(s.ids), dtype=np.int64) + s.start for s in segments])
        output = self.network.decoder(
            input_ids=self.network.send(ids)[None],
            position_ids=self.network.send(positions)[None],
            use_cache=False,
            tree=context,
        )
        return output.last_hidden_state[0], context

    def _kernel(self, indices: Sequence[int], past: Past) -> TreeKernel:
        layout = lay_out(self.tree, indices, sum(trunk[0].key.shape[2] for trunk in past))
        network = self.network
        return prepare_kernel(
            network.kernel, layout, network.num_query_groups, network.head.weight.dtype, network.device
        )

    def _set_dropout(self, indices: Sequence[int]) -> None:
        if (dropout := self.network.dropout) is not None:
            places = np.concatenate([np.arange(self.starts[i], self.starts[i + 1]) for i in indices])
            dropout.set_tokens(self.network.seed, self.step, places, self.network.device)

    def _push_through(
        self, one: Pass, past: Past, loss: Tensor, context: TreeContext, trunk: Sequence[TrunkLayer]
    ) -> None:
        """Send the loss and the branches' gradients of K and V through the trunk, in one backward."""
        roots: list[Tensor] = [loss] if loss.requires_grad else []
        gradients: list[Tensor | None] = [None] * len(roots)
        for layer, below in enumerate(trunk):
            key, value = context.captured[layer]
            for output, gradient in ((key, below.key_grad), (value, below.value_grad)):
                if output.requires_grad and gradient is not None:
                    roots.append(output)
                    gradients.append(gradient.to(output.dtype))
        self._set_dropout(one.segments)  # a checkpointed layer draws its masks again
        if roots:
            self._backward(roots, gradients, past)

    def _backward(self, roots: Sequence[Tensor], gradients: Sequence[Tensor | None], past: Past) -> None:
        if self.sink is None:
            torch.autograd.backward(roots, gradients)
        else:
            leaves = [leaf for trunk in past for layer in trunk for leaf in (layer.key, layer.value)]
            self.sink.backward(roots, gradients, leaves)
