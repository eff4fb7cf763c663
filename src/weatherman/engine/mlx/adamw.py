"""AdamW with torch's arithmetic and state (MLX's own has no bias correction by default), and the gradient's norm."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass, field

import mlx.core as mx

_CLIP_EPSILON = 1e-6  # torch.nn.utils.clip_grad_norm_'s


@dataclass(slots=True)
class AdamW:
    """Decoupled weight decay (Loshchilov and Hutter 2019) with both biases corrected.

    Attributes:
        beta1: decay of the gradient's mean.
        beta2: decay of its square.
        epsilon: guard against division by zero.
        weight_decay: times the learning rate.
        num_steps: updates so far.
        moments: per parameter, the running mean and square of its gradient.
    """

    beta1: float
    beta2: float
    epsilon: float
    weight_decay: float
    num_steps: int = 0
    moments: dict[str, tuple[mx.array, mx.array]] = field(default_factory=dict)

    def start(self, parameters: Iterable[tuple[str, mx.array]]) -> None:
        """Begin with moments of zero."""
        self.moments = {name: (mx.zeros_like(value), mx.zeros_like(value)) for name, value in parameters}

    def update(
        self, parameters: dict[str, mx.array], gradients: dict[str, mx.array], learning_rate: float
    ) -> dict[str, mx.array]:
        """Give the parameters after one step, evaluated; the moments move with them."""
        self.num_steps += 1
        correction1 = 1 - self.beta1**self.num_steps
        correction2 = math.sqrt(1 - self.beta2**self.num_steps)
        updated = {}
        for name, value in parameters.items():
            mean, square = self.moments[name]
            gradient = gradients[name]
            mean = mean + (1 - self.beta1) * (gradient - mean)
            square = self.beta2 * square + (1 - self.beta2) * gradient * gradient
            self.moments[name] = (mean, square)
            decayed = value * (1 - learning_rate * self.weight_decay)
            updated[name] = decayed - (learning_rate / correction1) * mean / (
                mx.sqrt(square) / correction2 + self.epsilon
            )
        mx.eval(updated, list(self.moments.values()))
        return updated


def clip(gradients: dict[str, mx.array], max_norm: float) -> tuple[dict[str, mx.array], float]:
    """Scale gradients down to a global norm.

    Returns:
        The gradients, and their norm before.
    """
    norm = float(mx.sqrt(sum(((value * value).sum() for value in gradients.values()), mx.array(0.0))))
    if not math.isfinite(norm):
        return gradients, norm
    factor = min(1.0, max_norm / (norm + _CLIP_EPSILON))
    return {name: value * factor for name, value in gradients.items()}, norm
