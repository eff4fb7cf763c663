"""Cross-entropy at supervised positions only, a chunk of logits at a time.

The head is frozen, so the gradient of the hidden states is found in the forward pass while a chunk's logits are at
hand: the [targets, vocabulary] matrix never exists whole, and nothing is recomputed.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

_LOGITS_BYTES = 48 * 2**20


class _HeadLoss(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, hidden_KD: Tensor, head_VD: Tensor, target_K: Tensor, weight_K: Tensor) -> Tensor:
        loss = torch.zeros((), dtype=torch.promote_types(hidden_KD.dtype, torch.float32), device=hidden_KD.device)
        needs_grad = hidden_KD.requires_grad
        grad_KD = torch.empty_like(hidden_KD) if needs_grad else None
        size = max(1, _LOGITS_BYTES // (head_VD.shape[0] * loss.element_size()))
        for begin in range(0, len(hidden_KD), size):
            rows = slice(begin, begin + size)
            scores = (hidden_KD[rows] @ head_VD.T).to(loss.dtype)
            target, weight = target_K[rows, None], weight_K[rows, None].to(loss.dtype)
            expected, top = scores.gather(1, target), scores.amax(dim=1, keepdim=True)
            total = scores.sub_(top).exp_().sum(dim=1, keepdim=True)
            loss += ((total.log() + top - expected) * weight).sum()
            if grad_KD is not None:
                scores.mul_(weight / total).scatter_add_(1, target, -weight)
                torch.mm(scores.to(head_VD.dtype), head_VD, out=grad_KD[rows])
        ctx.save_for_backward(grad_KD)
        return loss

    @staticmethod
    def backward(ctx: Any, *grads: Any) -> Any:
        (grad_KD,) = ctx.saved_tensors
        return (grad_KD * grads[0].to(grad_KD.dtype), None, None, None)


def head_loss(hidden_KD: Tensor, head_VD: Tensor, target_K: Tensor, weight_K: Tensor) -> Tensor:
    """Weighted sum of cross-entropies under a frozen output head.

    Args:
        hidden_KD: hidden states, one row per target.
        head_VD: the output embedding; receives no gradient.
        target_K: int64, the expected tokens.
        weight_K: what each target counts.

    Returns:
        ``sum_k weight[k] * CE(hidden[k] @ head.T, target[k])``, at least float32.
    """
    loss: Tensor = _HeadLoss.apply(hidden_KD, head_VD, target_K, weight_K)
    return loss
