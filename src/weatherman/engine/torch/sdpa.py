"""Tree attention by rectangular SDPA calls per segment: CPU, MPS, and any GPU.

A segment's queries go in blocks, so that most of what the causal mask hides is never computed.

Shape legend: H query heads, G key-value heads, R = H / G, b queries of a block, L tokens that its last one sees,
D head size.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from weatherman.engine.pass_layout import PassLayout
from weatherman.engine.torch.attention import TrunkLayer

QUERY_BLOCK_TOKENS = 128


@dataclass(frozen=True, slots=True)
class SegmentSdpa:
    """What block j of segment i adds to its scores is `masks[i][j]` [R * b, L]: 0 where allowed, else -inf."""

    layout: PassLayout
    masks: list[list[Tensor]]

    @classmethod
    def prepare(
        cls, layout: PassLayout, *, num_query_groups: int, dtype: torch.dtype, device: torch.device
    ) -> SegmentSdpa:
        """Write out every block's mask, once for all layers."""
        masks = []
        for place, length in enumerate(layout.lengths):
            num_before = layout.num_past_tokens + sum(layout.lengths[above] for above in layout.ancestors[place])
            mask = torch.full((length, num_before + length), float("-inf"), dtype=dtype, device=device)
            mask.triu_(num_before + 1)
            masks.append(
                [
                    mask[begin : begin + QUERY_BLOCK_TOKENS, : num_before + begin + QUERY_BLOCK_TOKENS].repeat(
                        num_query_groups, 1
                    )
                    for begin in range(0, length, QUERY_BLOCK_TOKENS)
                ]
            )
        return cls(layout, masks)

    def attend(
        self, query: Tensor, key: Tensor, value: Tensor, past: Sequence[TrunkLayer], scaling: float | None
    ) -> Tensor:
        """Attend, a segment at a time: its queries against the trunks, its ancestors in the pass and itself.

        Query heads of a group are laid side by side as extra query rows, so keys and values are never repeated.
        """
        num_heads, num_groups, head_dim = query.shape[1], key.shape[1], query.shape[3]
        keys, values = key.split(self.layout.lengths, dim=2), value.split(self.layout.lengths, dim=2)
        outputs = []
        for place, queries in enumerate(query.split(self.layout.lengths, dim=2)):
            inside = [*self.layout.ancestors[place], place]
            above = [trunk.seen() for trunk in past]
            seen_keys = _join([k for k, _ in above] + [keys[i] for i in inside])
            seen_values = _join([v for _, v in above] + [values[i] for i in inside])
            for block, mask in zip(queries.split(QUERY_BLOCK_TOKENS, dim=2), self.masks[place], strict=True):
                output = nn.functional.scaled_dot_product_attention(
                    block.reshape(1, num_groups, -1, head_dim),
                    seen_keys[:, :, : mask.shape[1]],
                    seen_values[:, :, : mask.shape[1]],
                    attn_mask=mask,
                    scale=scaling,
                )
                outputs.append(output.reshape(1, num_heads, -1, head_dim))
        return _join(outputs)


def _join(pieces: list[Tensor]) -> Tensor:
    return pieces[0] if len(pieces) == 1 else torch.cat(pieces, dim=2)
