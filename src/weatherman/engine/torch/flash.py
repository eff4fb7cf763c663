"""Tree attention by flash-attn's variable-length kernel: fewer queries than keys, causal at the lower right.

Each segment is one "sequence": its queries against the trunks, its ancestors in the pass and itself, whose keys are
gathered. It needs the package flash-attn (2.1 or newer) and half precision. Not yet measured on a GPU.

Shape legend: N tokens of a pass, P tokens of the trunks, L keys of all segments together, H, G heads, D head size.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from weatherman.engine.pass_layout import PassLayout
from weatherman.engine.torch.attention import PLAIN, ScoreRule, TrunkLayer
from weatherman.errors import WeathermanError


def key_places(layout: PassLayout) -> list[np.ndarray]:
    """Give, per segment, the places of its keys in the trunks' tokens followed by the pass's, in path order."""
    own = [
        np.arange(offset, offset + length) + layout.num_past_tokens
        for offset, length in zip(layout.offsets, layout.lengths, strict=True)
    ]
    past = np.arange(layout.num_past_tokens)
    return [
        np.concatenate([past, *(own[above] for above in layout.ancestors[place]), own[place]])
        for place in range(len(own))
    ]


@dataclass(frozen=True, slots=True)
class FlashTree:
    """Variable-length flash attention with a pass's gathered keys; cumulative lengths are int32 [segments + 1]."""

    places: Tensor
    query_ends: Tensor
    key_ends: Tensor
    longest_query: int
    longest_key: int
    kernel: Callable[..., Tensor]

    @classmethod
    def prepare(cls, layout: PassLayout, *, device: torch.device) -> FlashTree:
        """Work out the indices, once for all layers.

        Raises:
            WeathermanError: flash-attn is not installed.
        """
        places = key_places(layout)
        key_lengths = [len(one) for one in places]
        return cls(
            places=torch.from_numpy(np.concatenate(places)).to(device),
            query_ends=torch.tensor(np.cumsum([0, *layout.lengths]), dtype=torch.int32, device=device),
            key_ends=torch.tensor(np.cumsum([0, *key_lengths]), dtype=torch.int32, device=device),
            longest_query=max(layout.lengths),
            longest_key=max(key_lengths),
            kernel=varlen_kernel(),
        )

    def attend(
        self,
        query: Tensor,
        key: Tensor,
        value: Tensor,
        past: Sequence[TrunkLayer],
        scaling: float | None,
        rule: ScoreRule = PLAIN,
    ) -> Tensor:
        """Attend over all segments in one call."""
        above = [trunk.seen() for trunk in past]
        keys, values = (
            torch.cat([*seen, own], dim=2)[0].transpose(0, 1).index_select(0, self.places)
            for seen, own in (([k for k, _ in above], key), ([v for _, v in above], value))
        )
        output = self.kernel(
            query[0].transpose(0, 1),
            keys,
            values,
            self.query_ends,
            self.key_ends,
            self.longest_query,
            self.longest_key,
            softmax_scale=scaling,
            causal=True,
            **_limits(rule),
        )
        return output.transpose(0, 1)[None]


def _limits(rule: ScoreRule) -> dict[str, Any]:
    """The kernel's arguments for a window (tokens to the left of a query, aligned as `causal` is) and a soft cap."""
    window: dict[str, Any] = {} if rule.window is None else {"window_size": (rule.window - 1, 0)}
    return window if rule.softcap is None else {**window, "softcap": rule.softcap}


def varlen_kernel() -> Callable[..., Tensor]:
    """Import flash-attn's kernel.

    Raises:
        WeathermanError: it is not installed.
    """
    try:
        from flash_attn import flash_attn_varlen_func
    except ImportError as problem:
        raise WeathermanError(
            "engine.no-flash",
            "attn_implementation: flash is asked for, but the package flash-attn cannot be imported.",
            "install a wheel that matches torch, CUDA and Python exactly, or set attn_implementation: auto.",
        ) from problem
    kernel: Callable[..., Tensor] = flash_attn_varlen_func
    return kernel
