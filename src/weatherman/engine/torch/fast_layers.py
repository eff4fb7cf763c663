"""RMS norms and gated MLPs of Llama-like decoders in few passes over memory, for training on a CPU.

The modules keep their weights and places; only their `forward` is replaced, and only of the classes named below. What
they compute is transformers' to rounding, and the tests hold them against it.

- A norm saves its input and one number a token, and its backward pass needs two temporaries.
- An MLP with merged LoRA weights finds gate and up in one product, saves these and recomputes the activation from them
  in the backward pass, where their gradients take their place.

Shape legend: T tokens, I hidden size, F the MLP's size, R rank.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from peft import PeftModel
from torch import Tensor, nn
from transformers.models.llama.modeling_llama import LlamaMLP, LlamaRMSNorm
from transformers.models.mistral.modeling_mistral import MistralMLP, MistralRMSNorm

from weatherman.engine.torch.fast_lora import MergedLayer, MergedLora, factor_gradients

_NORMS = (LlamaRMSNorm, MistralRMSNorm)
_MLPS = (LlamaMLP, MistralMLP)
_BLOCK_TOKENS = 64  # elementwise work goes in blocks that stay in a core's second-level cache


def speed_up(model: PeftModel, merged: MergedLora) -> None:
    """Replace the `forward` of a model's norms and MLPs; others than Llama's and Mistral's stay as they are.

    Args:
        model: a PEFT model in float32 or wider on a CPU.
        merged: its merged weights; an MLP takes the new path only while they are in use.
    """
    for module in model.modules():
        if type(module) in _NORMS:
            module.forward = _Norm(module.weight, module.variance_epsilon).forward  # type: ignore[arg-type, assignment]
        elif type(module) in _MLPS and getattr(module.config, "hidden_act", "") == "silu":
            layers = [merged.layer(module.get_submodule(f"{name}_proj")) for name in ("gate", "up", "down")]
            if all(layers):
                gate, up, down = layers
                module.forward = _Mlp.of(gate, up, down, module.forward).forward  # type: ignore[arg-type, assignment]


class _RmsNorm(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, epsilon: float) -> Tensor:
        scale = torch.linalg.vector_norm(x, dim=-1, keepdim=True).square_().div_(x.shape[-1]).add_(epsilon).rsqrt_()
        ctx.save_for_backward(x, weight, scale)
        return (x * scale).mul_(weight)

    @staticmethod
    def backward(ctx: Any, *grads: Any) -> Any:
        x, weight, scale = ctx.saved_tensors
        grad = grads[0] * weight
        along = (grad * x).sum(dim=-1, keepdim=True).mul_(scale**3).div_(-x.shape[-1])
        return grad.mul_(scale).addcmul_(x, along), None, None


@dataclass(frozen=True, slots=True)
class _Norm:
    weight: nn.Parameter
    epsilon: float

    def forward(self, hidden_states: Tensor) -> Tensor:
        """Stand in for the module's own forward."""
        output: Tensor = _RmsNorm.apply(hidden_states, self.weight, self.epsilon)
        return output


class _MergedMlp(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, wide_2FI: Tensor, down_IF: Tensor, scalings: Any, *factors: Tensor) -> Tensor:
        both = nn.functional.linear(x, wide_2FI)
        ctx.save_for_backward(x, both, wide_2FI, down_IF, *factors)
        ctx.scalings = scalings
        gate, up = both.chunk(2, dim=-1)
        return nn.functional.linear(nn.functional.silu(gate).mul_(up), down_IF)

    @staticmethod
    def backward(ctx: Any, *grads: Any) -> Any:
        x, both, wide_2FI, down_IF, *factors = ctx.saved_tensors
        x_TI, both, grad_TI = x.flatten(0, -2), both.flatten(0, -2), grads[0].flatten(0, -2)
        inner_TF = grad_TI @ down_IF
        _through_activation(both, inner_TF)
        gate_TF, up_TF = both.chunk(2, dim=-1)
        grad_x = (both @ wide_2FI).view_as(x) if ctx.needs_input_grad[0] else None
        gradients: list[Tensor] = []
        for place, (inputs, grad) in enumerate(((x_TI, gate_TF), (x_TI, up_TF), (inner_TF, grad_TI))):
            a_RI, b_OR = factors[2 * place : 2 * place + 2]
            gradients += factor_gradients(inputs, grad, a_RI, b_OR, ctx.scalings[place])
        return grad_x, None, None, None, *gradients


def _through_activation(both_T2F: Tensor, grad_TF: Tensor) -> None:
    """Replace gate and up by their gradients, and the gradient of ``silu(gate) * up`` by that product itself."""
    for both, grad in zip(both_T2F.split(_BLOCK_TOKENS), grad_TF.split(_BLOCK_TOKENS), strict=True):
        gate, up = both.chunk(2, dim=-1)
        sigmoid = gate.sigmoid()
        silu = gate * sigmoid
        product = silu * up
        gate.sub_(silu).add_(1).mul_(sigmoid).mul_(up).mul_(grad)  # silu' = sigmoid * (1 + gate - silu)
        torch.mul(grad, silu, out=up)
        grad.copy_(product)


@dataclass(frozen=True, slots=True)
class _Mlp:
    """An MLP whose gate and up lie in one tensor [2 F, I]."""

    gate: MergedLayer
    up: MergedLayer
    down: MergedLayer
    own_forward: Callable[[Tensor], Tensor]
    wide_2FI: Tensor

    @classmethod
    def of(cls, gate: MergedLayer, up: MergedLayer, down: MergedLayer, own_forward: Callable[[Tensor], Tensor]) -> _Mlp:
        return cls(gate, up, down, own_forward, MergedLayer.join([gate, up]))

    def forward(self, x: Tensor) -> Tensor:
        """Stand in for the module's own forward."""
        layers = (self.gate, self.up, self.down)
        if not all(layer.active for layer in layers):
            return self.own_forward(x)
        factors = [factor for layer in layers for factor in layer.factors]
        scalings = tuple(layer.scaling for layer in layers)
        output: Tensor = _MergedMlp.apply(x, self.wide_2FI, self.down.merged, scalings, *factors)
        return output
