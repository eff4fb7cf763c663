"""LoRA by merged weights: one matrix product forward and one backward where PEFT's layers need four and three.

For the length of a step each adapted layer uses ``W' = W + scaling * B @ A``, so that ``x W'^T`` is base and adapter
in one product and so is the gradient of x. The adapter's own gradients need no more than ``A x`` and ``B^T dy``:
``dA = scaling * (dy B)^T x`` and ``dB = scaling * dy^T (x A^T)``. The results are PEFT's to rounding as long as W' is
held in float32 or more, and only without dropout; it costs a copy of the adapted weights.

Shape legend: T tokens, I inputs, O outputs, R rank.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from peft import PeftModel
from peft.tuners.lora import Linear as LoraLinear
from torch import Tensor, nn

_ADAPTER = "default"


class _MergedLinear(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, a_RI: Tensor, b_OR: Tensor, merged_OI: Tensor, scaling: float) -> Tensor:
        ctx.save_for_backward(x, a_RI, b_OR, merged_OI)
        ctx.scaling = scaling
        return nn.functional.linear(x, merged_OI)

    @staticmethod
    def backward(ctx: Any, *grads: Any) -> Any:
        x, a_RI, b_OR, merged_OI = ctx.saved_tensors
        x_TI, grad_TO = x.flatten(0, -2), grads[0].flatten(0, -2)
        grad_x = (grad_TO @ merged_OI).view_as(x) if ctx.needs_input_grad[0] else None
        grad_a_RI = (grad_TO @ b_OR).mul_(ctx.scaling).T @ x_TI
        grad_b_OR = grad_TO.T @ (x_TI @ a_RI.T).mul_(ctx.scaling)
        return grad_x, grad_a_RI, grad_b_OR, None, None


@dataclass(slots=True)
class _Layer:
    """One adapted layer; `merged` holds W' [O, I] while merged weights are in use, and memory for it afterwards."""

    module: LoraLinear
    peft_forward: Callable[..., Tensor]
    merged: Tensor | None = None
    in_use: bool = False

    def merge(self) -> None:
        """Compute W' from the weights as they are."""
        a_RI, b_OR = self._factors()
        weight_OI: Tensor = self.module.base_layer.weight  # type: ignore[assignment]
        if self.merged is None:
            self.merged = torch.empty_like(weight_OI)
        torch.addmm(weight_OI, b_OR, a_RI, alpha=self.module.scaling[_ADAPTER], out=self.merged)
        self.in_use = True

    def forward(self, x: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        """Stand in for the module's own forward."""
        if not self.in_use or self.module.disable_adapters:
            return self.peft_forward(x, *args, **kwargs)
        output: Tensor = _MergedLinear.apply(x, *self._factors(), self.merged, self.module.scaling[_ADAPTER])
        return output

    def _factors(self) -> tuple[Tensor, Tensor]:
        return self.module.lora_A[_ADAPTER].weight, self.module.lora_B[_ADAPTER].weight  # type: ignore[return-value]


class MergedLora:
    """Merged weights for the LoRA layers of a model, used only inside `in_use()`.

    Args:
        model: a PEFT model with LoRA on linear layers without bias; its layers' `forward` is replaced.
    """

    def __init__(self, model: PeftModel) -> None:
        self._layers = []
        for module in model.modules():
            if isinstance(module, LoraLinear):
                layer = _Layer(module, module.forward)
                module.forward = layer.forward  # type: ignore[method-assign]
                self._layers.append(layer)

    @staticmethod
    def suits(model: PeftModel, dropout: float) -> bool:
        """Tell whether merged weights give PEFT's results: float32 or wider, no bias, no dropout."""
        layers = [module for module in model.modules() if isinstance(module, LoraLinear)]
        return dropout == 0 and all(
            layer.base_layer.bias is None and layer.base_layer.weight.dtype in (torch.float32, torch.float64)
            for layer in layers
        )

    @contextmanager
    def in_use(self) -> Iterator[None]:
        """Merge now, and let the layers use it until the block ends; the adapter must not change meanwhile."""
        with torch.no_grad():
            for layer in self._layers:
                layer.merge()
        try:
            yield
        finally:
            for layer in self._layers:
                layer.in_use = False
