"""Loss and gradients of one step: over its prefix tree, or over padded batches (the reference).

Both give ``sum_e sum_t mask * CE / sum_e sum_t mask``, divided once by the step's supervised tokens. They leave the
gradients in the trainable parameters' `.grad`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from weatherman.batching import PrefixTree, pad
from weatherman.engine.torch_attention import TreeContext, TrunkKV, make_context
from weatherman.engine.torch_dropout import DropoutState
from weatherman.engine.torch_loss import head_loss
from weatherman.passes import Pass
from weatherman.records import Rendered


@dataclass(frozen=True, slots=True)
class Network:
    """The parts of a causal language model that a step calls: `decoder` maps ids to hidden states, `head` [V, D] to
    logits; `num_query_groups` is query heads per key-value head.
    """

    decoder: nn.Module
    head: Tensor
    num_query_groups: int
    device: torch.device
    dropout: DropoutState


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
        input_ids=torch.from_numpy(batch.ids).to(network.device),
        attention_mask=torch.from_numpy(batch.attention).to(network.device),
        use_cache=False,
    )
    rows, columns = np.nonzero(batch.supervised[:, 1:])
    targets = torch.from_numpy(batch.ids[rows, columns + 1]).to(network.device)
    places = torch.from_numpy(rows * batch.ids.shape[1] + columns).to(network.device)
    hidden_KD = output.last_hidden_state.flatten(0, 1).index_select(0, places)
    loss = head_loss(hidden_KD, network.head, targets, torch.full((len(targets),), 1.0 / num_supervised_tokens))
    if backward:
        loss.backward()
    return float(loss.detach())


def tree_loss(network: Network, tree: PrefixTree, passes: Sequence[Pass], *, backward: bool) -> float:
    """Loss of a step over its prefix tree.

    Args:
        network: the model, its attention set to the tree's.
        tree: the step's tree.
        passes: how it is cut (`plan_passes`).
        backward: also add the gradients.

    Returns:
        The step's mean loss over supervised tokens.
    """
    total = 0.0
    for one in passes:
        total += _run(network, tree, one, (), backward=backward)
    return total


def _run(network: Network, tree: PrefixTree, one: Pass, past: tuple[TrunkKV, ...], *, backward: bool) -> float:
    """Run a pass and everything below it; the gradients of the trunks above are left in their K and V."""
    if not one.children:
        loss, _ = _forward(network, tree, one, past, capture=False)
        if backward and loss.requires_grad:
            loss.backward()
        return float(loss.detach())
    with torch.set_grad_enabled(backward and not one.recompute):
        loss, context = _forward(network, tree, one, past, capture=True)
    trunk = _detach(context, requires_grad=backward)
    total = float(loss.detach())
    for child in one.children:
        total += _run(network, tree, child, (*past, trunk), backward=backward)
    if backward:
        if one.recompute:
            loss, context = _forward(network, tree, one, past, capture=True)
        _push_through(network, tree, one, loss, context, trunk)
    return total


def _forward(
    network: Network, tree: PrefixTree, one: Pass, past: tuple[TrunkKV, ...], *, capture: bool
) -> tuple[Tensor, TreeContext]:
    segments = [tree.segments[index] for index in one.segments]
    context = make_context(
        tree, one.segments, past, capture=capture, num_query_groups=network.num_query_groups, device=network.device
    )
    _set_dropout(network, tree, one)
    ids = np.concatenate([segment.ids for segment in segments]).astype(np.int64)
    positions = np.concatenate([np.arange(len(s.ids), dtype=np.int64) + s.start for s in segments])
    output = network.decoder(
        input_ids=torch.from_numpy(ids)[None].to(network.device),
        position_ids=torch.from_numpy(positions)[None].to(network.device),
        use_cache=False,
        tree=context,
    )
    offsets = np.cumsum([0, *context.lengths[:-1]])
    places = np.concatenate([segment.context + offset for segment, offset in zip(segments, offsets, strict=True)])
    hidden_KD = output.last_hidden_state[0].index_select(0, torch.from_numpy(places).to(network.device))
    targets = torch.from_numpy(np.concatenate([segment.target for segment in segments])).to(network.device)
    weights = np.concatenate([segment.weight for segment in segments]) / max(1, tree.num_supervised_tokens)
    return head_loss(hidden_KD, network.head, targets, torch.from_numpy(weights).to(network.device)), context


def _set_dropout(network: Network, tree: PrefixTree, one: Pass) -> None:
    network.dropout.segments = [(index, len(tree.segments[index].ids)) for index in one.segments]


def _detach(context: TreeContext, *, requires_grad: bool) -> TrunkKV:
    layers = [context.captured[layer] for layer in sorted(context.captured)]
    return TrunkKV(
        keys=[key.detach().requires_grad_(requires_grad) for key, _ in layers],
        values=[value.detach().requires_grad_(requires_grad) for _, value in layers],
    )


def _push_through(
    network: Network, tree: PrefixTree, one: Pass, loss: Tensor, context: TreeContext, trunk: TrunkKV
) -> None:
    """Send the loss and the branches' gradients of K and V through the trunk, in one backward."""
    roots: list[Tensor] = [loss] if loss.requires_grad else []
    gradients: list[Tensor | None] = [None] * len(roots)
    for layer, (key, value) in context.captured.items():
        for output, leaf in ((key, trunk.keys[layer]), (value, trunk.values[layer])):
            if output.requires_grad and leaf.grad is not None:
                roots.append(output)
                gradients.append(leaf.grad)
                leaf.grad = None
    _set_dropout(network, tree, one)
    if roots:
        torch.autograd.backward(roots, gradients)
