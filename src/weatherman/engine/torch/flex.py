"""Tree attention by one FlexAttention call per layer, for CUDA; it also runs, slowly, on a CPU (forward only).

The flat buffer is depth-first, so token k is an ancestor of token q, or q itself, exactly if ``k <= q < until[k]``,
`until` being where k's subtree ends. Keys are the pass's, padded to whole blocks, then the trunks'. Padding is a
segment of its own: nothing real sees it, and no row is left without a key.

Not yet measured on a GPU.

Shape legend: N tokens of a pass, M the same padded to whole blocks, P tokens of the trunks, H, G heads, D head size.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.attention.flex_attention import BlockMask, create_block_mask, flex_attention

from weatherman.engine.pass_layout import PassLayout
from weatherman.engine.torch.attention import TrunkLayer

BLOCK_TOKENS = 128


def subtree_ends(layout: PassLayout, num_padded_tokens: int) -> np.ndarray:
    """Find where the subtree of each token of the flat buffer ends; int32 [M], padding ends with the buffer."""
    offsets = layout.offsets
    ends = [offset + length for offset, length in zip(offsets, layout.lengths, strict=True)]
    for place in reversed(range(len(ends))):
        for above in layout.ancestors[place]:
            ends[above] = max(ends[above], ends[place])
    until = np.full(num_padded_tokens, num_padded_tokens, np.int32)
    until[: layout.num_tokens] = np.repeat(np.array(ends, np.int32), layout.lengths)
    return until


@dataclass(frozen=True, slots=True)
class FlexTree:
    """FlexAttention with the block mask of a pass."""

    num_padding_tokens: int
    block_mask: BlockMask

    @classmethod
    def prepare(cls, layout: PassLayout, *, device: torch.device) -> FlexTree:
        """Build the block mask, once for all layers."""
        num_padded = -(-layout.num_tokens // BLOCK_TOKENS) * BLOCK_TOKENS
        num_keys = num_padded + -(-layout.num_past_tokens // BLOCK_TOKENS) * BLOCK_TOKENS
        num_real_keys = num_padded + layout.num_past_tokens
        until = torch.full((num_keys,), num_padded, dtype=torch.int32, device=device)
        until[:num_padded] = torch.from_numpy(subtree_ends(layout, num_padded)).to(device)

        def visible(batch: Tensor, head: Tensor, query: Tensor, key: Tensor) -> Tensor:  # noqa: ARG001
            in_past = (key >= num_padded) & (key < num_real_keys)
            return in_past | ((key <= query) & (query < until[key]))

        mask = create_block_mask(visible, None, None, num_padded, num_keys, device=device, BLOCK_SIZE=BLOCK_TOKENS)
        return cls(num_padded - layout.num_tokens, mask)

    def attend(
        self, query: Tensor, key: Tensor, value: Tensor, past: Sequence[TrunkLayer], scaling: float | None
    ) -> Tensor:
        """Attend over the whole pass and the trunks at once."""
        above = [trunk.seen() for trunk in past]
        num_past_padding = self.block_mask.seq_lengths[1] - sum(k.shape[2] for k, _ in above) - self._padded(query)
        output = _flex(query.device.type)(
            nn.functional.pad(query, (0, 0, 0, self.num_padding_tokens)),
            self._keys(key, [k for k, _ in above], num_past_padding),
            self._keys(value, [v for _, v in above], num_past_padding),
            block_mask=self.block_mask,
            scale=scaling,
            enable_gqa=True,
        )
        return output[:, :, : query.shape[2]]

    def _padded(self, query: Tensor) -> int:
        return query.shape[2] + self.num_padding_tokens

    def _keys(self, own: Tensor, above: list[Tensor], num_past_padding: int) -> Tensor:
        padded = nn.functional.pad(own, (0, 0, 0, self.num_padding_tokens))
        if not above:
            return padded
        return torch.cat([padded, *above[:-1], nn.functional.pad(above[-1], (0, 0, 0, num_past_padding))], dim=2)


@functools.cache
def _flex(device_type: str) -> Callable[..., Any]:
    """FlexAttention as it is worth calling: compiled for CUDA, as it stands for the CPU's tests."""
    if device_type != "cuda":
        return flex_attention
    compiled: Any = torch.compile(flex_attention, dynamic=True)
    return compiled  # type: ignore[no-any-return]
