"""Cross-entropy at supervised positions only, a chunk of logits at a time.

The head is frozen, so the gradient of the hidden states is found in the forward pass while a chunk's logits are at
hand: the [targets, vocabulary] matrix never exists whole, and nothing is recomputed.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

_LOGITS_BYTES = 48 * 2**20


@dataclass(frozen=True, slots=True)
class Head:
    """A frozen output head: ``scale * (x @ weight.T + bias)``, then ``softcap * tanh(logit / softcap)``.

    Attributes:
        weight: the output embedding [V, D].
        bias: [V], or None.
        scale: Cohere's and Granite's factor of the logits.
        softcap: Gemma's limit of the logits; None leaves them.
    """

    weight: Tensor
    bias: Tensor | None = None
    scale: float = 1.0
    softcap: float | None = None

    def logits(self, hidden_KD: Tensor) -> Tensor:
        """Logits [K, V] in the head's own type."""
        logits_KV = torch.nn.functional.linear(hidden_KD, self.weight, self.bias)
        if self.scale != 1.0:
            logits_KV = logits_KV * self.scale
        return logits_KV if self.softcap is None else (logits_KV / self.softcap).tanh() * self.softcap

    def slope(self, logits_KV: Tensor) -> Tensor | float:
        """The derivative of the logits by ``x @ weight.T``, found from the logits themselves."""
        if self.softcap is None:
            return self.scale
        return (1 - (logits_KV / self.softcap).square_()).mul_(self.scale)


class _HeadLoss(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, hidden_KD: Tensor, head: Head, target_K: Tensor, weight_K: Tensor) -> Tensor:
        loss = torch.zeros((), dtype=torch.promote_types(hidden_KD.dtype, torch.float32), device=hidden_KD.device)
        needs_grad = hidden_KD.requires_grad
        grad_KD = torch.empty_like(hidden_KD) if needs_grad else None
        size = max(1, _LOGITS_BYTES // (len(head.weight) * loss.element_size()))
        for begin in range(0, len(hidden_KD), size):
            rows = slice(begin, begin + size)
            scores = head.logits(hidden_KD[rows]).to(loss.dtype)
            slope = head.slope(scores) if needs_grad else 1.0
            target, weight = target_K[rows, None], weight_K[rows, None].to(loss.dtype)
            expected, top = scores.gather(1, target), scores.amax(dim=1, keepdim=True)
            total = scores.sub_(top).exp_().sum(dim=1, keepdim=True)
            loss += ((total.log() + top - expected) * weight).sum()
            if grad_KD is not None:
                scores.mul_(weight / total).scatter_add_(1, target, -weight)
                if isinstance(slope, Tensor) or slope != 1.0:
                    scores.mul_(slope)
                torch.mm(scores.to(head.weight.dtype), head.weight, out=grad_KD[rows])
        ctx.save_for_backward(grad_KD)
        return loss

    @staticmethod
    def backward(ctx: Any, *grads: Any) -> Any:
        (grad_KD,) = ctx.saved_tensors
        return (grad_KD * grads[0].to(grad_KD.dtype), None, None, None)


def head_loss(hidden_KD: Tensor, head: Head, target_K: Tensor, weight_K: Tensor) -> Tensor:
    """Weighted sum of cross-entropies under a frozen output head.

    Args:
        hidden_KD: hidden states, one row per target.
        head: the output head; receives no gradient.
        target_K: int64, the expected tokens.
        weight_K: what each target counts.

    Returns:
        ``sum_k weight[k] * CE(head(hidden[k]), target[k])``, at least float32.
    """
    loss: Tensor = _HeadLoss.apply(hidden_KD, head, target_K, weight_K)
    return loss
