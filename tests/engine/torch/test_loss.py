"""The loss of a head with a bias, a factor and a soft cap is torch's own cross-entropy of the written-out logits."""

from __future__ import annotations

import pytest
import torch

from weatherman.engine.torch import loss as torch_loss
from weatherman.engine.torch.loss import Head, head_loss


@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize("scale", [1.0, 0.25])
@pytest.mark.parametrize("softcap", [None, 3.0])
def test_loss_and_gradient(bias: bool, scale: float, softcap: float | None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch_loss, "_LOGITS_BYTES", 4 * 30 * 8)  # chunks of four targets
    torch.manual_seed(0)
    hidden, weight = torch.randn(11, 16, dtype=torch.float64), torch.randn(30, 16, dtype=torch.float64)
    shift = torch.randn(30, dtype=torch.float64) if bias else None
    target, counts = torch.randint(30, (11,)), torch.rand(11, dtype=torch.float64)
    mine, theirs = hidden.clone().requires_grad_(), hidden.clone().requires_grad_()
    found = head_loss(mine, Head(weight, shift, scale, softcap), target, counts)
    logits = theirs @ weight.T + (shift if bias else 0)
    logits = logits * scale
    if softcap is not None:
        logits = softcap * torch.tanh(logits / softcap)
    expected = (torch.nn.functional.cross_entropy(logits, target, reduction="none") * counts).sum()
    torch.testing.assert_close(found, expected)
    found.backward()
    expected.backward()
    torch.testing.assert_close(mine.grad, theirs.grad)
