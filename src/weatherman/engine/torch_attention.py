"""Attention over a prefix tree, registered with transformers' attention interface.

Shape legend: H query heads, G key-value heads, R = H / G, N tokens of a pass, n of a segment, P of the prefix outside
the pass, D head size.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from transformers import AttentionInterface, AttentionMaskInterface
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import sdpa_mask

from weatherman.batching import PrefixTree

TREE_ATTENTION = "weatherman_tree"
PADDED_ATTENTION = "weatherman_sdpa"


@dataclass(slots=True)
class TrunkKV:
    """K and V [1, G, n, D] of a trunk, one per layer: detached leaves that collect the gradients of its branches."""

    keys: list[Tensor]
    values: list[Tensor]


@dataclass(slots=True)
class TreeContext:
    """Which segments a pass holds and what they attend to; travels to every layer as a keyword argument.

    `lengths` are the segments' sizes in the flat buffer; `inside[i]` lists the positions (in this pass) of segment i's
    ancestors that are in the pass; `masks[i]` is bool [R * n, P + ancestors + n], true where attention is allowed;
    `captured` receives this pass's own K and V by layer when `capture` is set.
    """

    lengths: list[int]
    inside: list[list[int]]
    masks: list[Tensor]
    past: Sequence[TrunkKV] = ()
    capture: bool = False
    captured: dict[int, tuple[Tensor, Tensor]] = field(default_factory=dict)


def make_context(
    tree: PrefixTree,
    segments: Sequence[int],
    past: Sequence[TrunkKV],
    *,
    capture: bool,
    num_query_groups: int,
    device: torch.device,
) -> TreeContext:
    """Build the context of one pass.

    Args:
        tree: the step's tree.
        segments: the pass's segments, parents before children; all others on their paths must be in `past`.
        past: the trunks above the pass, root first.
        capture: keep this pass's K and V.
        num_query_groups: R, query heads per key-value head.
        device: where the masks are needed.

    Returns:
        The context, with one explicit mask per segment.
    """
    place = {segment: position for position, segment in enumerate(segments)}
    lengths = [len(tree.segments[segment].ids) for segment in segments]
    inside = [[place[above] for above in tree.ancestors(segment) if above in place] for segment in segments]
    masks = []
    for position, segment in enumerate(segments):
        num_queries = lengths[position]
        allowed = torch.ones(num_queries, tree.segments[segment].start + num_queries, dtype=torch.bool, device=device)
        masks.append(allowed.tril(tree.segments[segment].start).repeat(num_query_groups, 1))
    return TreeContext(lengths, inside, masks, past, capture)


def tree_attention(
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    scaling: float | None = None,
    dropout: float = 0.0,
    *,
    tree: TreeContext,
    **kwargs: Any,
) -> tuple[Tensor, None]:
    """One rectangular SDPA per segment: its queries against its ancestors' keys and its own.

    Query heads of a group are laid side by side as extra query rows, so keys and values are never repeated.

    Args:
        module: the attention layer; its `layer_idx` selects the prefix's K and V.
        query: [1, H, N, D]; key, value: [1, G, N, D].
        attention_mask: unused: the masks are in `tree`.
        scaling: factor of the scores.
        dropout: must be 0; attention dropout is not supported.
        tree: the pass's context.

    Returns:
        The output [1, N, H, D] and no weights.
    """
    if dropout:
        raise ValueError("attention dropout is not supported over a prefix tree")
    layer = int(module.layer_idx)  # type: ignore[arg-type]
    if tree.capture and layer not in tree.captured:
        tree.captured[layer] = (key, value)
    num_heads, num_groups, head_dim = query.shape[1], key.shape[1], query.shape[3]
    past_keys = [trunk.keys[layer] for trunk in tree.past]
    past_values = [trunk.values[layer] for trunk in tree.past]
    keys, values = key.split(tree.lengths, dim=2), value.split(tree.lengths, dim=2)
    outputs = []
    for index, queries in enumerate(query.split(tree.lengths, dim=2)):
        seen = [*tree.inside[index], index]
        rows = queries.reshape(1, num_groups, -1, head_dim)
        output = nn.functional.scaled_dot_product_attention(
            rows,
            _join(past_keys + [keys[i] for i in seen]),
            _join(past_values + [values[i] for i in seen]),
            attn_mask=tree.masks[index],
            scale=scaling,
        )
        outputs.append(output.reshape(1, num_heads, -1, head_dim))
    return torch.cat(outputs, dim=2).transpose(1, 2), None


def _join(pieces: list[Tensor]) -> Tensor:
    return pieces[0] if len(pieces) == 1 else torch.cat(pieces, dim=2)


def _no_mask(*args: Any, **kwargs: Any) -> None:
    """The tree's masks travel in the context; transformers must neither build its own nor guess packed sequences."""


def _explicit_mask(*args: Any, **kwargs: Any) -> Tensor | None:
    """SDPA's mask, always written out: devices have had silent bugs in the implicit causal one."""
    return sdpa_mask(*args, **{**kwargs, "allow_is_causal_skip": False})


AttentionInterface.register(TREE_ATTENTION, tree_attention)
AttentionMaskInterface.register(TREE_ATTENTION, _no_mask)
AttentionInterface.register(PADDED_ATTENTION, sdpa_attention_forward)
AttentionMaskInterface.register(PADDED_ATTENTION, _explicit_mask)
