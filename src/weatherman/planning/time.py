"""How long a run will take, by its arithmetic: a range, with the assumption behind it in words."""

from __future__ import annotations

import time

import numpy as np

from weatherman.config.schema import TrainingConfig
from weatherman.models.shape import ModelShape

_FLOPS_PER_PARAMETER = 4
# (peak FLOP/s, lowest and highest share of it that training reaches): paper figures and experience, not measured here.
_H100 = (989e12, 0.25, 0.45)
# Apple Silicon: float32 TFLOP/s of the largest GPU of each name, from huggingface.js's table of hardware (its pull
# request 1044 says where they come from). Nobody has measured training on any of them here.
_CHIPS = {
    "M4": 4.6e12, "M4 Pro": 9.2e12, "M4 Max": 18.4e12, "M5": 5.7e12, "M5 Pro": 11.4e12, "M5 Max": 22.8e12,
}  # fmt: skip
# An M4's prompt processing reaches 225 tokens/s on 8.0 B parameters in 4 bits (llama.cpp on a 16 GB Mac mini), 78 % of
# its 4.6 TFLOP/s. A training token recomputes its forward pass, and a trunk runs twice: at most 43 % of 4 FLOPs remain.
_APPLE_SHARE = (0.18, 0.43)
_CPU_UTILISATION = (0.3, 0.6)


def run_device(config: TrainingConfig) -> str:
    """The device that a run of this configuration is planned for."""
    return {"h100": "cuda", "m4": "mps", "demo": "cpu"}[config.platform] if config.device == "auto" else config.device


def dtype_bytes(config: TrainingConfig) -> int:
    """Bytes of a frozen weight."""
    dtype = ("float32" if run_device(config) == "cpu" else "bfloat16") if config.dtype == "auto" else config.dtype
    return {"float32": 4, "bfloat16": 2}[dtype]


def estimate_time(
    config: TrainingConfig, shape: ModelShape, num_computed_tokens: int, chip: str | None = None
) -> tuple[tuple[float, float], list[str]]:
    """Seconds as a range, and the assumptions behind it: 4 FLOPs a parameter and computed token (LoRA trains no base
    weight, so the backward pass costs as much as the forward one; recomputation is in the utilisation).
    """
    flops = _FLOPS_PER_PARAMETER * shape.num_computing_parameters * num_computed_tokens
    device, more = run_device(config), []
    if device == "cpu":
        peak, (low, high) = measure_peak_flops(), _CPU_UTILISATION
        source = f"this machine's float32 matrix peak, measured: {peak / 1e9:.0f} GFLOP/s"
    elif device == "cuda":
        peak, low, high = _H100
        source = "one H100: 989 TFLOP/s on paper"
    else:
        name = (chip or "").removeprefix("Apple ")
        name = name if name in _CHIPS else "M4"
        peak, (low, high) = _CHIPS[name], _APPLE_SHARE
        source = f"an {name}: {peak / 1e12:.1f} TFLOP/s on paper"
        others = [f"{other} {_hours(flops, other)}" for other in _CHIPS if other != name]
        more = [f"on other chips, in hours, by the same arithmetic: {', '.join(others)}"]
    words = (
        f"time is an estimate: {source}, {low:.0%} to {high:.0%} of it reached, 4 FLOPs a parameter and computed token"
    )
    return (flops / (peak * high), flops / (peak * low)), [words, *more]


def _hours(flops: float, chip: str) -> str:
    low, high = (flops / (_CHIPS[chip] * share) / 3600 for share in reversed(_APPLE_SHARE))
    return f"{low:.0f} to {high:.0f}"


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
