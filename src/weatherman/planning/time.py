"""How long a run will take, by its arithmetic: a range, with the assumption behind it in words."""

from __future__ import annotations

import time

import numpy as np

from weatherman.config.schema import TrainingConfig
from weatherman.models.shape import ModelShape

_FLOPS_PER_PARAMETER = 4
# (peak FLOP/s, lowest and highest share of it that training reaches): paper figures and experience, not measured here.
_H100 = (989e12, 0.25, 0.45)
_M4 = (4.3e12, 0.35, 0.75)
_CPU_UTILISATION = (0.3, 0.6)


def run_device(config: TrainingConfig) -> str:
    """The device that a run of this configuration is planned for."""
    return {"h100": "cuda", "m4": "mps", "demo": "cpu"}[config.platform] if config.device == "auto" else config.device


def dtype_bytes(config: TrainingConfig) -> int:
    """Bytes of a frozen weight."""
    dtype = ("float32" if run_device(config) == "cpu" else "bfloat16") if config.dtype == "auto" else config.dtype
    return {"float32": 4, "bfloat16": 2}[dtype]


def estimate_time(
    config: TrainingConfig, shape: ModelShape, num_computed_tokens: int
) -> tuple[tuple[float, float], str]:
    """Seconds as a range, and the assumption behind it: 4 FLOPs a parameter and computed token (LoRA trains no base
    weight, so the backward pass costs as much as the forward one; recomputation is in the utilisation).
    """
    flops = _FLOPS_PER_PARAMETER * shape.num_computing_parameters * num_computed_tokens
    device = run_device(config)
    if device == "cpu":
        peak, (low, high) = measure_peak_flops(), _CPU_UTILISATION
        source = f"this machine's float32 matrix peak, measured: {peak / 1e9:.0f} GFLOP/s"
    else:
        peak, low, high = _H100 if device == "cuda" else _M4
        source = f"{'one H100: 989' if device == 'cuda' else 'an M4 with 10 GPU cores: 4.3'} TFLOP/s on paper"
    words = (
        f"time is an estimate: {source}, {low:.0%} to {high:.0%} of it reached, 4 FLOPs a parameter and computed token"
    )
    return (flops / (peak * high), flops / (peak * low)), words


def measure_peak_flops() -> float:
    """The float32 matrix product's speed here, in FLOP/s: the best of a few, in a fraction of a second."""
    size = 768
    left = np.ones((size, size), np.float32)
    best_s = 1e9
    for _ in range(5):
        began_s = time.perf_counter()
        np.matmul(left, left)
        best_s = min(best_s, time.perf_counter() - began_s)
    return float(2 * size**3 / best_s)
