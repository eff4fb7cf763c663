"""Attention over a prefix tree, registered with transformers' attention interface.

One entry, `tree_attention`, serves every kernel: a pass's `TreeContext` carries the kernel that was prepared for it.
Keys and values of the trunks above a pass come along outside the library's cache.

Shape legend: H query heads, G key-value heads, N tokens of a pass, P of the trunks above it, D head size.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import torch
from torch import Tensor, nn
from transformers import AttentionInterface, AttentionMaskInterface
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import sdpa_mask

TREE_ATTENTION = "weatherman_tree"
PADDED_ATTENTION = "weatherman_sdpa"


class _Collect(torch.autograd.Function):
    """The identity on a trunk's K or V; its gradient goes into a float32 buffer instead of the leaf."""

    @staticmethod
    def forward(ctx: Any, leaf: Tensor, buffer: Tensor) -> Tensor:
        ctx.buffer = buffer
        return leaf.view_as(leaf)

    @staticmethod
    def backward(ctx: Any, *grads: Any) -> Any:
        ctx.buffer.add_(grads[0])
        return None, None


@dataclass(frozen=True, slots=True)
class TrunkLayer:
    """K and V [1, G, n, D] of one trunk in one layer, detached; with gradients, also the buffers that collect them."""

    key: Tensor
    value: Tensor
    key_grad: Tensor | None
    value_grad: Tensor | None

    @classmethod
    def detached(cls, key: Tensor, value: Tensor, *, requires_grad: bool) -> TrunkLayer:
        """Cut K and V off their graph; buffers are float32 at least, however coarse K and V are."""
        key, value = (tensor.detach().requires_grad_(requires_grad) for tensor in (key, value))
        if not requires_grad:
            return cls(key, value, None, None)
        wide = torch.promote_types(key.dtype, torch.float32)
        buffers = [torch.zeros_like(leaf, dtype=wide, requires_grad=False) for leaf in (key, value)]
        return cls(key, value, buffers[0], buffers[1])

    def apart(self) -> TrunkLayer:
        """The same K and V with buffers of their own, for a worker."""
        return TrunkLayer.detached(self.key, self.value, requires_grad=self.key_grad is not None)

    def take_gradients(self, other: TrunkLayer) -> None:
        """Add what another's buffers have collected."""
        if self.key_grad is not None and self.value_grad is not None:
            self.key_grad.add_(other.key_grad)  # type: ignore[arg-type]
            self.value_grad.add_(other.value_grad)  # type: ignore[arg-type]

    def seen(self) -> tuple[Tensor, Tensor]:
        """K and V as a branch uses them once."""
        if self.key_grad is None or self.value_grad is None:
            return self.key, self.value
        return _Collect.apply(self.key, self.key_grad), _Collect.apply(self.value, self.value_grad)


@dataclass(frozen=True, slots=True)
class ScoreRule:
    """What a layer does to its scores besides scaling them.

    Attributes:
        window: a token sees itself and the `window` - 1 tokens before it on its path; None for the whole path.
        softcap: scores become ``softcap * tanh(score / softcap)``; None leaves them.
    """

    window: int | None = None
    softcap: float | None = None


PLAIN = ScoreRule()


class TreeKernel(Protocol):
    """Attention of one pass, with its masks or indices prepared; the same for all layers that have the same rule."""

    def attend(
        self,
        query: Tensor,
        key: Tensor,
        value: Tensor,
        past: Sequence[TrunkLayer],
        scaling: float | None,
        rule: ScoreRule = PLAIN,
    ) -> Tensor:
        """Attend.

        Args:
            query: [1, H, N, D].
            key: [1, G, N, D], as `value`.
            value: the pass's values.
            past: the trunks above, root first, in this layer.
            scaling: factor of the scores; None for 1 / sqrt(D).
            rule: the layer's window and soft cap.

        Returns:
            The output [1, H, N, D].
        """


@dataclass(slots=True)
class TreeContext:
    """What a pass's attention needs; travels to every layer as a keyword argument.

    Attributes:
        kernel: the prepared attention.
        past: per trunk above the pass, its K and V by layer.
        capture: whether to keep this pass's own K and V.
        captured: K and V by layer, when `capture` is set.
    """

    kernel: TreeKernel
    past: Sequence[Sequence[TrunkLayer]] = ()
    capture: bool = False
    captured: dict[int, tuple[Tensor, Tensor]] = field(default_factory=dict)


def tree_attention(
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: int | None,
    scaling: float | None = None,
    dropout: float = 0.0,
    softcap: float | None = None,
    *,
    tree: TreeContext,
    **_: Any,
) -> tuple[Tensor, None]:
    """Attend over the pass that `tree` describes, as transformers' attention interface asks for it.

    Args:
        module: the attention layer; its `layer_idx` selects the trunks' K and V.
        query: [1, H, N, D].
        key: [1, G, N, D].
        value: [1, G, N, D].
        attention_mask: this layer's window, as `_window_of_mask` gives it; None for full attention.
        scaling: factor of the scores.
        dropout: must be 0; attention dropout is not supported.
        softcap: of the scores.
        tree: the pass's context.
        **_: what transformers sends besides.

    Returns:
        The output [1, N, H, D] and no weights.
    """
    if dropout:
        raise ValueError("attention dropout is not supported over a prefix tree")
    layer = int(module.layer_idx)  # type: ignore[arg-type]
    if tree.capture and layer not in tree.captured:  # a checkpointed layer runs again in the backward pass
        tree.captured[layer] = (key, value)
    rule = ScoreRule(attention_mask, softcap)
    output = tree.kernel.attend(query, key, value, [trunk[layer] for trunk in tree.past], scaling, rule)
    return output.transpose(1, 2), None


def _window_of_mask(*_: Any, local_size: int | None = None, **__: Any) -> int | None:
    """Give a layer its window instead of a mask.

    The kernel has its own masks, and transformers must not guess packed sequences from the positions. The library asks
    for the mask of each kind of layer and hands it to the layers of that kind, so the window comes along that way.
    """
    return local_size


def _explicit_mask(*args: Any, **kwargs: Any) -> Tensor | None:
    """Write SDPA's mask out, always: devices have had silent bugs in the implicit causal one."""
    return sdpa_mask(*args, **{**kwargs, "allow_is_causal_skip": False})


AttentionInterface.register(TREE_ATTENTION, tree_attention)
AttentionMaskInterface.register(TREE_ATTENTION, _window_of_mask)
AttentionInterface.register(PADDED_ATTENTION, sdpa_attention_forward)
AttentionMaskInterface.register(PADDED_ATTENTION, _explicit_mask)
