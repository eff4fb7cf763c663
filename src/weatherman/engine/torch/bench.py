"""The facts of this machine that calibration needs."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import subprocess
from typing import Any

import torch
from transformers import AutoConfig

from weatherman.config.schema import TrainingConfig
from weatherman.engine.torch.device import choose_device, choose_kernel, device_name
from weatherman.engine.tuning import Bench
from weatherman.errors import WeathermanError
from weatherman.models.base_model import model_folder

_QUERY = ("nvidia-smi", "--query-gpu=driver_version", "--format=csv,noheader")


def find_bench(config: TrainingConfig) -> Bench:
    """Look at the device, its driver and packages, and at the model's shape.

    Raises:
        WeathermanError: the device is not there.
    """
    device = choose_device(config.device)
    shape: Any = AutoConfig.from_pretrained(model_folder(config.model_name_or_path), revision=config.model_revision)
    shape = shape.get_text_config()
    num_heads = int(shape.num_attention_heads)
    size = getattr(shape, "head_dim", None) or shape.hidden_size // num_heads
    facts = {
        "name": device_name(device),
        "torch": torch.__version__,
        "driver": _driver() if device.type == "cuda" else "",
    }
    for package in ("flash-attn", "triton", "transformers", "peft"):
        facts[package] = (
            importlib.metadata.version(package) if importlib.util.find_spec(package.replace("-", "_")) else ""
        )
    return Bench(
        device=device.type,
        facts=facts,
        kernels=tuple(kernel for kernel in ("flex", "flash", "sdpa") if _can(kernel, device)),
        heads=(num_heads, int(getattr(shape, "num_key_value_heads", None) or num_heads), int(size)),
    )


def _can(kernel: Any, device: torch.device) -> bool:
    try:
        return choose_kernel(kernel, device) == kernel
    except WeathermanError:
        return False


def _driver() -> str:
    try:
        done = subprocess.run(_QUERY, capture_output=True, text=True, timeout=10, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout.strip()
