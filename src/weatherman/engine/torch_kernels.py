"""The attention kernel of a pass, by name."""

from __future__ import annotations

import torch

from weatherman.engine.torch_attention import PassLayout, TreeKernel
from weatherman.engine.torch_sdpa import SegmentSdpa


def prepare_kernel(
    name: str, layout: PassLayout, num_query_groups: int, dtype: torch.dtype, device: torch.device
) -> TreeKernel:
    """Prepare a pass's attention: its masks or indices, once for all layers.

    Args:
        name: "sdpa", "flex" or "flash".
        layout: the pass.
        num_query_groups: query heads per key-value head.
        dtype: the model's.
        device: the model's.

    Returns:
        The kernel.
    """
    return SegmentSdpa.prepare(layout, num_query_groups=num_query_groups, dtype=dtype, device=device)
