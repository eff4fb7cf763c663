"""LoRA by merged weights: one matrix product forward and one backward where PEFT's layers need four and three.

For the length of a step each adapted layer uses ``W' = W + scaling * B @ A``, so that ``x W'^T`` is base and adapter
in one product and so is the gradient of x. The adapter's own gradients need no more than ``A x`` and ``B^T dy``:
``dA = scaling * (dy B)^T x`` and ``dB = scaling * dy^T (x A^T)``. The results are PEFT's to rounding as long as W' is
held in float32 or more, and only without dropout; it costs a copy of the adapted weights.

Shape legend: T tokens, I inputs, O outputs, R rank.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
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
        return grad_x, *factor_gradients(x_TI, grad_TO, a_RI, b_OR, ctx.scaling), None, None


def factor_gradients(
    x_TI: Tensor, grad_TO: Tensor, a_RI: Tensor, b_OR: Tensor, scaling: float
) -> tuple[Tensor, Tensor]:
    """Gradients of A and B from a layer's input and its output's gradient."""
    grad_a_RI = (grad_TO @ b_OR).mul_(scaling).T @ x_TI
    grad_b_OR = grad_TO.T @ (x_TI @ a_RI.T).mul_(scaling)
    return grad_a_RI, grad_b_OR


@dataclass(slots=True)
class MergedLayer:
    """One adapted layer; `merged` holds W' [O, I] while merged weights are in use, and memory for it afterwards."""

    module: LoraLinear
    peft_forward: Callable[..., Tensor]
    merged: Tensor | None = None
    in_use: bool = False

    def merge(self) -> None:
        """Compute W' from the weights as they are."""
        a_RI, b_OR = self.factors
        weight_OI: Tensor = self.module.base_layer.weight  # type: ignore[assignment]
        if self.merged is None:
            self.merged = torch.empty_like(weight_OI)
        torch.addmm(weight_OI, b_OR, a_RI, alpha=self.scaling, out=self.merged)
        self.in_use = True

    def forward(self, x: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        """Stand in for the module's own forward."""
        if not self.active:
            return self.peft_forward(x, *args, **kwargs)
        output: Tensor = _MergedLinear.apply(x, *self.factors, self.merged, self.scaling)
        return output

    @property
    def active(self) -> bool:
        """Whether W' is what the layer computes with."""
        return self.in_use and not self.module.disable_adapters

    @property
    def scaling(self) -> float:
        """The factor of B A."""
        return float(self.module.scaling[_ADAPTER])

    @property
    def factors(self) -> tuple[Tensor, Tensor]:
        """A [R, I] and B [O, R]."""
        return self.module.lora_A[_ADAPTER].weight, self.module.lora_B[_ADAPTER].weight  # type: ignore[return-value]

    @staticmethod
    def join(layers: Sequence[MergedLayer]) -> Tensor:
        """Lay the W' of layers that have the same input one below the other in one tensor, and return it."""
        weights: list[Tensor] = [layer.module.base_layer.weight for layer in layers]  # type: ignore[misc]
        joined = weights[0].new_empty(sum(len(weight) for weight in weights), weights[0].shape[1])
        for layer, part in zip(layers, joined.split([len(weight) for weight in weights]), strict=True):
            layer.merged = part
        return joined


class MergedLora:
    """Merged weights for the LoRA layers of a model, used only inside `in_use()`.

    Args:
        model: a PEFT model with LoRA on linear layers without bias; its layers' `forward` is replaced.
    """

    def __init__(self, model: PeftModel) -> None:
        self._layers: dict[nn.Module, MergedLayer] = {}
        for module in model.modules():
            if isinstance(module, LoraLinear):
                self._layers[module] = layer = MergedLayer(module, module.forward)
                module.forward = layer.forward  # type: ignore[method-assign]

    def layer(self, module: nn.Module) -> MergedLayer | None:
        """The merged layer of a module; None where it has no adapter."""
        return self._layers.get(module)

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
            for layer in self._layers.values():
                layer.merge()
        try:
            yield
        finally:
            for layer in self._layers.values():
                layer.in_use = False
