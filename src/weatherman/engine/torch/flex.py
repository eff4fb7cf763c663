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
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.attention.flex_attention import BlockMask, create_block_mask, flex_attention

from weatherman.engine.pass_layout import PassLayout
from weatherman.engine.torch.attention import PLAIN, ScoreRule, TrunkLayer

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


def key_depths(layout: PassLayout, num_padded_tokens: int) -> np.ndarray:
    """Give each key's depth in the tree: the flat buffer's, padded, then the trunks'; int32 [M + P]."""
    depths = np.zeros(num_padded_tokens + layout.num_past_tokens, np.int32)
    for place, (offset, length) in enumerate(zip(layout.offsets, layout.lengths, strict=True)):
        start = layout.num_past_tokens + sum(layout.lengths[above] for above in layout.ancestors[place])
        depths[offset : offset + length] = np.arange(start, start + length)
    depths[num_padded_tokens:] = np.arange(layout.num_past_tokens)
    return depths


@dataclass(frozen=True, slots=True)
class FlexTree:
    """FlexAttention with the block masks of a pass, one for each window that its layers have."""

    layout: PassLayout
    device: torch.device
    masks: dict[int | None, BlockMask] = field(default_factory=dict)

    @classmethod
    def prepare(cls, layout: PassLayout, *, device: torch.device) -> FlexTree:
        """Build the block mask of full attention, once for all layers; a window's when a layer first asks for it."""
        kernel = cls(layout, device)
        kernel.block_mask(None)
        return kernel

    @property
    def num_padded_tokens(self) -> int:
        """M."""
        return -(-self.layout.num_tokens // BLOCK_TOKENS) * BLOCK_TOKENS

    @property
    def num_padding_tokens(self) -> int:
        """M - N."""
        return self.num_padded_tokens - self.layout.num_tokens

    def block_mask(self, window: int | None) -> BlockMask:
        """The mask of layers with this window (None: full attention)."""
        if window not in self.masks:
            self.masks[window] = self._make_mask(window)
        return self.masks[window]

    def _make_mask(self, window: int | None) -> BlockMask:
        num_padded, num_past = self.num_padded_tokens, self.layout.num_past_tokens
        num_keys = num_padded + -(-num_past // BLOCK_TOKENS) * BLOCK_TOKENS
        num_real_keys = num_padded + num_past
        until = torch.full((num_keys,), num_padded, dtype=torch.int32, device=self.device)
        until[:num_padded] = torch.from_numpy(subtree_ends(self.layout, num_padded)).to(self.device)

        def visible(batch: Tensor, head: Tensor, query: Tensor, key: Tensor) -> Tensor:  # noqa: ARG001
            in_past = (key >= num_padded) & (key < num_real_keys)
            return in_past | ((key <= query) & (query < until[key]))

        depth = torch.zeros(num_keys, dtype=torch.int32, device=self.device)
        depth[:num_real_keys] = torch.from_numpy(key_depths(self.layout, num_padded)).to(self.device)

        limit = num_keys if window is None else window

        def near(batch: Tensor, head: Tensor, query: Tensor, key: Tensor) -> Tensor:
            padding = query >= self.layout.num_tokens  # a row without a key would be not a number
            return visible(batch, head, query, key) & (padding | (depth[query] - depth[key] < limit))

        rule = visible if window is None else near
        return create_block_mask(rule, None, None, num_padded, num_keys, device=self.device, BLOCK_SIZE=BLOCK_TOKENS)

    def attend(
        self,
        query: Tensor,
        key: Tensor,
        value: Tensor,
        past: Sequence[TrunkLayer],
        scaling: float | None,
        rule: ScoreRule = PLAIN,
    ) -> Tensor:
        """Attend over the whole pass and the trunks at once."""
        above = [trunk.seen() for trunk in past]
        mask = self.block_mask(rule.window)
        num_past_padding = mask.seq_lengths[1] - sum(k.shape[2] for k, _ in above) - self.num_padded_tokens
        output = _flex(query.device.type)(
            nn.functional.pad(query, (0, 0, 0, self.num_padding_tokens)),
            self._keys(key, [k for k, _ in above], num_past_padding),
            self._keys(value, [v for _, v in above], num_past_padding),
            score_mod=_soft_cap(rule.softcap),
            block_mask=mask,
            scale=scaling,
            enable_gqa=True,
        )
        return output[:, :, : query.shape[2]]

    def _keys(self, own: Tensor, above: list[Tensor], num_past_padding: int) -> Tensor:
        padded = nn.functional.pad(own, (0, 0, 0, self.num_padding_tokens))
        if not above:
            return padded
        return torch.cat([padded, *above[:-1], nn.functional.pad(above[-1], (0, 0, 0, num_past_padding))], dim=2)


@functools.cache
def _soft_cap(softcap: float | None) -> Callable[..., Tensor] | None:
    """What FlexAttention does to a score; the same function for the same cap, so that it is compiled once."""
    if softcap is None:
        return None

    def cap(score: Tensor, batch: Tensor, head: Tensor, query: Tensor, key: Tensor) -> Tensor:  # noqa: ARG001
        return torch.tanh(score / softcap) * softcap

    return cap


@functools.cache
def _flex(device_type: str) -> Callable[..., Any]:
    """FlexAttention as it is worth calling: compiled for CUDA, as it stands for the CPU's tests."""
    if device_type != "cuda":
        return flex_attention
    compiled: Any = torch.compile(flex_attention, dynamic=True)
    return compiled  # type: ignore[no-any-return]
