"""The roofline: how fast this machine multiplies matrices of the model's own shapes, and what a step needs of that.

A step with LoRA needs 4 FLOPs per base parameter and computed token: 2 forward, 2 for the gradient of the input; the
frozen weights have no gradient. The head counts where it is needed, at supervised targets. Attention's products, the
adapter, norms and the optimizer are left out, so 100 % cannot be reached.
"""

from __future__ import annotations

import time
from typing import Any

import torch

from benchmarks.jobs import require_shape
from weatherman.config.schema import TrainingConfig
from weatherman.models.shape import ModelShape

PEAK_TOKENS = 1024
_REPEATS = 12
_FLOPS_PER_PARAMETER = 4


def body_parameters(shape: ModelShape) -> int:
    """Weights of the layers' projections: what every computed token is multiplied with."""
    return shape.num_layers * sum(inputs * outputs for inputs, outputs in shape.modules.values())


def step_flops(shape: ModelShape, computed_tokens: int, supervised_tokens: int) -> int:
    """The FLOPs that a LoRA step needs, as the module says."""
    head = shape.vocabulary * shape.hidden
    return _FLOPS_PER_PARAMETER * (body_parameters(shape) * computed_tokens + head * supervised_tokens)


def measure_peak(config: TrainingConfig) -> dict[str, Any]:
    """Time float32 products of a pass's size at each projection's shape, forward and backward.

    Args:
        config: whose model.

    Returns:
        `flops` of a layer's products, their `wall_s` (each product at its fastest of a few) and `cpu_s` (the mean:
        the system counts it in coarse ticks).
    """
    wall_s, flops = 0.0, 0
    layer: list[tuple[torch.Tensor, torch.Tensor]] = []
    for inputs, outputs in require_shape(config).modules.values():
        weight_OI = torch.randn(outputs, inputs)
        layer.append((torch.randn(PEAK_TOKENS, inputs), weight_OI.T))
        layer.append((torch.randn(PEAK_TOKENS, outputs), weight_OI))
        flops += 2 * 2 * PEAK_TOKENS * inputs * outputs
    for left, right in layer:
        left @ right  # the first is slower
        wall_s += min(_seconds(left, right) for _ in range(_REPEATS))
    began_s = time.process_time()
    for _ in range(_REPEATS):
        for left, right in layer:
            left @ right
    cpu_s = (time.process_time() - began_s) / _REPEATS
    return {"flops": flops, "wall_s": wall_s, "cpu_s": cpu_s, "threads": torch.get_num_threads()}


def _seconds(left: torch.Tensor, right: torch.Tensor) -> float:
    began_s = time.perf_counter()
    left @ right
    return time.perf_counter() - began_s
