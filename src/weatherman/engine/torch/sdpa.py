"""Tree attention by rectangular SDPA calls per segment: CPU, MPS, and any GPU.

A segment's queries go in blocks, so that most of what the causal mask hides is never computed.

Shape legend: H query heads, G key-value heads, R = H / G, b queries of a block, L keys that it looks at,
D head size.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from weatherman.engine.pass_layout import PassLayout
from weatherman.engine.torch.attention import PLAIN, ScoreRule, TrunkLayer

QUERY_BLOCK_TOKENS = 128


@dataclass(frozen=True, slots=True)
class BlockMask:
    """The keys `first_key` .. `end_key` - 1 of a segment's path that a block looks at, and what is added to its scores.

    `added` [R * b, L] is 0 where a key is seen, else -inf; a window leaves out keys that no query of the block sees.
    """

    first_key: int
    end_key: int
    added: Tensor


@dataclass(frozen=True, slots=True)
class SegmentSdpa:
    """Attention of a pass, a block of queries at a time.

    `masks[window][i][j]` belongs to block j of segment i in layers with that window (None: full attention).
    """

    layout: PassLayout
    num_query_groups: int
    dtype: torch.dtype
    device: torch.device
    masks: dict[int | None, list[list[BlockMask]]] = field(default_factory=dict)

    @classmethod
    def prepare(
        cls, layout: PassLayout, *, num_query_groups: int, dtype: torch.dtype, device: torch.device
    ) -> SegmentSdpa:
        """Make the kernel; a window's masks are written out when the first layer asks for them."""
        return cls(layout, num_query_groups, dtype, device)

    def attend(
        self,
        query: Tensor,
        key: Tensor,
        value: Tensor,
        past: Sequence[TrunkLayer],
        scaling: float | None,
        rule: ScoreRule = PLAIN,
    ) -> Tensor:
        """Attend, a segment at a time: its queries against the trunks, its ancestors in the pass and itself.

        Query heads of a group are laid side by side as extra query rows, so keys and values are never repeated.
        """
        num_heads, num_groups, head_dim = query.shape[1], key.shape[1], query.shape[3]
        keys, values = key.split(self.layout.lengths, dim=2), value.split(self.layout.lengths, dim=2)
        masks = self.masks_of(rule.window)
        outputs = []
        for place, queries in enumerate(query.split(self.layout.lengths, dim=2)):
            inside = [*self.layout.ancestors[place], place]
            above = [trunk.seen() for trunk in past]
            seen_keys = _join([k for k, _ in above] + [keys[i] for i in inside])
            seen_values = _join([v for _, v in above] + [values[i] for i in inside])
            for block, mask in zip(queries.split(QUERY_BLOCK_TOKENS, dim=2), masks[place], strict=True):
                output = _attend_block(
                    block.reshape(1, num_groups, -1, head_dim),
                    seen_keys[:, :, mask.first_key : mask.end_key],
                    seen_values[:, :, mask.first_key : mask.end_key],
                    mask.added,
                    scaling,
                    rule.softcap,
                )
                outputs.append(output.reshape(1, num_heads, -1, value.shape[3]))
        return _join(outputs)

    def masks_of(self, window: int | None) -> list[list[BlockMask]]:
        """Every block's mask in layers with this window, written out once for all of them."""
        if window not in self.masks:
            self.masks[window] = [self._of_segment(place, window) for place in range(len(self.layout.lengths))]
        return self.masks[window]

    def _of_segment(self, place: int, window: int | None) -> list[BlockMask]:
        length = self.layout.lengths[place]
        num_before = self.layout.num_past_tokens + sum(
            self.layout.lengths[above] for above in self.layout.ancestors[place]
        )
        blocks = []
        for begin in range(0, length, QUERY_BLOCK_TOKENS):
            end = min(begin + QUERY_BLOCK_TOKENS, length)
            # a key's place on the path is its depth, so a window is a band of the path
            first = 0 if window is None else max(0, num_before + begin - window + 1)
            shape = (end - begin, num_before + end - first)
            hidden = torch.full(shape, float("-inf"), dtype=self.dtype, device=self.device)
            mask = hidden.triu(num_before + begin - first + 1)
            if window is not None:
                mask += hidden.tril_(num_before + begin - first - window)
            blocks.append(BlockMask(first, num_before + end, mask.repeat(self.num_query_groups, 1)))
        return blocks


def _attend_block(
    query: Tensor, key: Tensor, value: Tensor, mask: Tensor, scaling: float | None, softcap: float | None
) -> Tensor:
    """Attend [1, G, R * b, D] over [1, G, L, D]; a soft cap is written out, since SDPA has none."""
    if softcap is None:
        return nn.functional.scaled_dot_product_attention(query, key, value, attn_mask=mask, scale=scaling)
    scores = query @ key.transpose(2, 3) * (scaling or query.shape[-1] ** -0.5)
    scores = (scores / softcap).tanh() * softcap + mask
    wide = torch.promote_types(scores.dtype, torch.float32)
    return scores.softmax(dim=-1, dtype=wide).to(query.dtype) @ value


def _join(pieces: list[Tensor]) -> Tensor:
    return pieces[0] if len(pieces) == 1 else torch.cat(pieces, dim=2)
