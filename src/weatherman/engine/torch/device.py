"""Which device and precision a run uses, and how many tokens fit in one pass; the rules are pure functions."""

from __future__ import annotations

import importlib.util
import platform
import sys
from typing import Any, Literal

import torch

from weatherman.engine.attention_choice import Kernel, choose_attention
from weatherman.engine.token_budget import activation_bytes_per_token, free_system_bytes, token_budget
from weatherman.errors import WeathermanError


def choose_device(wanted: str) -> torch.device:
    """The device to train on: CUDA, else MPS, else CPU for "auto".

    Raises:
        WeathermanError: the wanted device is not there.
    """
    available = {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available(), "cpu": True}
    if wanted == "auto":
        return torch.device(next(name for name, there in available.items() if there))
    if not available[wanted]:
        raise WeathermanError(
            "engine.no-device",
            f"device: {wanted} is asked for, but PyTorch {torch.__version__} finds none.",
            "set device: auto, or run the set-up script of this platform.",
        )
    return torch.device(wanted)


def choose_dtype(wanted: str, device: torch.device) -> torch.dtype:
    """Precision of the frozen weights: "auto" is float32 on CPU (bfloat16 is slower there), bfloat16 elsewhere."""
    if wanted == "auto":
        return torch.float32 if device.type == "cpu" else torch.bfloat16
    return {"float32": torch.float32, "bfloat16": torch.bfloat16}[wanted]


def choose_kernel(wanted: Literal["auto", "sdpa", "flex", "flash"], device: torch.device) -> Kernel:
    """Apply `choose_attention` to this device.

    Raises:
        WeathermanError: the wanted kernel cannot run here.
    """
    return choose_attention(
        wanted,
        device=device.type,
        capability=torch.cuda.get_device_capability(device) if device.type == "cuda" else None,
        has_triton=importlib.util.find_spec("triton") is not None,
        has_flash=importlib.util.find_spec("flash_attn") is not None,
    )


def device_name(device: torch.device) -> str:
    """The device's name for people."""
    if device.type == "cuda":
        return str(torch.cuda.get_device_name(device))
    return f"{platform.processor() or platform.machine()} ({sys.platform}, {torch.get_num_threads()} threads)"


def choose_token_budget(device: torch.device, dtype: torch.dtype, model_config: Any, *, checkpointing: bool) -> int:
    """Apply `token_budget` to this device's free memory and this model."""
    per_token = activation_bytes_per_token(
        hidden_size=model_config.hidden_size,
        intermediate_size=model_config.intermediate_size,
        num_layers=model_config.num_hidden_layers,
        bytes_per_float=dtype.itemsize,
        checkpointing=checkpointing,
    )
    return token_budget(device.type, _free_bytes(device), per_token)


def _free_bytes(device: torch.device) -> int | None:
    if device.type == "cuda":
        return int(torch.cuda.mem_get_info(device)[0])
    if device.type == "mps":
        return int(torch.mps.recommended_max_memory() - torch.mps.driver_allocated_memory())
    return free_system_bytes()
