"""Where MLX computes, in which precision, with how much memory, and how many tokens fit in one pass."""

from __future__ import annotations

import platform
import resource
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.metadata import version
from typing import Any

import mlx.core as mx

from weatherman.engine.token_budget import activation_bytes_per_token, free_system_bytes, token_budget
from weatherman.errors import WeathermanError

_CACHE_BYTES = 2**30  # freed blocks that are kept: passes of many shapes would make it grow without end
_MEMORY_SHARE = 0.95  # of what Metal recommends at most: beyond it macOS swaps, or ends the process


def choose_device(wanted: str) -> str:
    """Choose where to train, and make it MLX's default: "metal" or "cpu".

    Raises:
        WeathermanError: the wanted device is not there.
    """
    metal = mx.metal.is_available()
    if wanted == "cuda" or (wanted == "mps" and not metal):
        raise WeathermanError(
            "engine.no-device",
            f"device: {wanted} is asked for, but MLX {version('mlx')} {'uses Metal' if metal else 'finds no Metal'}.",
            "set device: auto, or engine: torch.",
        )
    device = "metal" if metal and wanted != "cpu" else "cpu"
    mx.set_default_device(mx.gpu if device == "metal" else mx.cpu)
    return device


def choose_dtype(wanted: str, device: str) -> mx.Dtype:
    """Precision of weights and activations: "auto" is float32 on a CPU, bfloat16 on Metal."""
    if wanted == "auto":
        return mx.float32 if device == "cpu" else mx.bfloat16
    return {"float32": mx.float32, "bfloat16": mx.bfloat16}[wanted]


def limit_memory(device: str) -> None:
    """Bound MLX's cache everywhere, and its memory to what Metal recommends; the wired limit is left alone."""
    mx.set_cache_limit(_CACHE_BYTES)
    if (most := _working_set_bytes(device)) is not None:
        mx.set_memory_limit(int(most * _MEMORY_SHARE))


def _working_set_bytes(device: str) -> int | None:
    if device != "metal":
        return None
    found = mx.device_info().get("max_recommended_working_set_size")
    return int(found) if found else None


def device_name(device: str) -> str:
    """The device's name for people."""
    name = str(mx.device_info().get("device_name") or platform.processor() or platform.machine())
    return f"{name} ({'Metal' if device == 'metal' else sys.platform}, MLX)"


def choose_token_budget(device: str, dtype: mx.Dtype, args: Any, *, checkpointing: bool) -> int:
    """Apply `token_budget` to the memory that is left beside this model."""
    per_token = activation_bytes_per_token(
        hidden_size=args.hidden_size,
        intermediate_size=args.intermediate_size,
        num_layers=args.num_hidden_layers,
        bytes_per_float=dtype.size,
        checkpointing=checkpointing,
    )
    most = _working_set_bytes(device)
    free = free_system_bytes() if most is None else max(0, most - mx.get_active_memory())
    return token_budget("cpu" if device == "cpu" else "mps", free, per_token)


@contextmanager
def metal_errors(num_tokens: int) -> Iterator[None]:
    """Turn what Metal says while a pass of so many tokens runs into one line; where it aborts, the launcher does.

    Raises:
        WeathermanError: memory ran out, or a command took too long.
    """
    try:
        yield
    except RuntimeError as problem:
        text = str(problem).strip().splitlines()[0] if str(problem).strip() else ""
        if not text.lower().startswith(("[metal", "[malloc")):
            raise
        raise WeathermanError(
            "engine.metal",
            f"Metal gave up in a pass of at most {num_tokens:,} tokens: {text[:200]}",
            f"close other programs, and go on with --set max_tokens_per_chunk={max(64, num_tokens // 2)}",
        ) from problem


def peak_memory_bytes(device: str) -> int:
    """The most memory in use so far: MLX's own on Metal, else the process's resident set."""
    if device == "metal":
        return int(mx.get_peak_memory())
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit
