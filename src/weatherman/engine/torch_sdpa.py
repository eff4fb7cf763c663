"""Tree attention by one rectangular SDPA call per segment: CPU, MPS, and any GPU.

Shape legend: H query heads, G key-value heads, R = H / G, n tokens of a segment, L tokens that it sees, D head size.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from weatherman.engine.torch_attention import PassLayout, TrunkLayer


@dataclass(frozen=True, slots=True)
class SegmentSdpa:
    """`masks[i]` is what is added to the scores [R * n, L] of segment i: 0 where attention is allowed, else -inf."""

    layout: PassLayout
    masks: list[Tensor]

    @classmethod
    def prepare(
        cls, layout: PassLayout, *, num_query_groups: int, dtype: torch.dtype, device: torch.device
    ) -> SegmentSdpa:
        """Write out every segment's mask, once for all layers."""
        masks = []
        for place, length in enumerate(layout.lengths):
            num_before = layout.num_past_tokens + sum(layout.lengths[above] for above in layout.ancestors[place])
            mask = torch.full((length, num_before + length), float("-inf"), dtype=dtype, device=device)
            masks.append(mask.triu_(num_before + 1).repeat(num_query_groups, 1))
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
            output = nn.functional.scaled_dot_product_attention(
                queries.reshape(1, num_groups, -1, head_dim),
                _join([k for k, _ in above] + [keys[i] for i in inside]),
                _join([v for _, v in above] + [values[i] for i in inside]),
                attn_mask=self.masks[place],
                scale=scaling,
            )
            outputs.append(output.reshape(1, num_heads, -1, head_dim))
        return _join(outputs)


def _join(pieces: list[Tensor]) -> Tensor:
    return pieces[0] if len(pieces) == 1 else torch.cat(pieces, dim=2)
