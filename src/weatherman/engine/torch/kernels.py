"""The attention kernel of a pass, by name."""

from __future__ import annotations

import torch

from weatherman.engine.attention_choice import Kernel
from weatherman.engine.pass_layout import PassLayout
from weatherman.engine.torch.attention import TreeKernel
from weatherman.engine.torch.flash import FlashTree
from weatherman.engine.torch.flex import FlexTree
from weatherman.engine.torch.sdpa import SegmentSdpa


def prepare_kernel(
    kernel: Kernel, layout: PassLayout, num_query_groups: int, dtype: torch.dtype, device: torch.device
) -> TreeKernel:
    """Prepare a pass's attention: its masks or indices, once for all layers.

    Args:
        kernel: which.
        layout: the pass.
        num_query_groups: query heads per key-value head.
        dtype: the model's.
        device: the model's.

    Returns:
        The kernel.
    """
    if kernel == "flex":
        return FlexTree.prepare(layout, device=device)
    if kernel == "flash":
        return FlashTree.prepare(layout, device=device)
    return SegmentSdpa.prepare(layout, num_query_groups=num_query_groups, dtype=dtype, device=device)
