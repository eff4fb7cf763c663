"""Adapter and optimizer on disk, in the very formats of the torch engine, so that each continues the other's runs."""

from __future__ import annotations

import json
from pathlib import Path

import mlx.core as mx
import numpy as np
from safetensors.numpy import load_file, save_file

from weatherman.config.schema import TrainingConfig
from weatherman.engine.mlx.adamw import AdamW
from weatherman.engine.mlx.lora import Adapter
from weatherman.errors import WeathermanError

ADAPTER_FILE = "adapter_model.safetensors"
CONFIG_FILE = "adapter_config.json"
OPTIMIZER_FILE = "optimizer.safetensors"


def save_adapter(adapter: Adapter, config: TrainingConfig, base: str, folder: Path) -> None:
    """Write `adapter_model.safetensors` and `adapter_config.json`, as PEFT reads them; names sorted.

    Args:
        adapter: the weights.
        config: the run's.
        base: where the base model was loaded from.
        folder: is made if it is missing.
    """
    folder.mkdir(parents=True, exist_ok=True)
    tensors = {f"{name}.weight": np.array(value) for name, value in adapter.named()}
    save_file(tensors, folder / ADAPTER_FILE, metadata={"format": "pt"})
    settings = {
        "base_model_name_or_path": base,
        "bias": "none",
        "fan_in_fan_out": False,
        "inference_mode": True,
        "init_lora_weights": True,
        "lora_alpha": config.lora_alpha,
        "lora_dropout": config.lora_dropout,
        "peft_type": "LORA",
        "r": config.lora_r,
        "target_modules": sorted(config.target_modules),
        "task_type": "CAUSAL_LM",
    }
    (folder / CONFIG_FILE).write_text(json.dumps(settings, indent=2, sort_keys=True) + "\n", encoding="utf-8")


def load_adapter(adapter: Adapter, folder: Path) -> None:
    """Restore an adapter that either engine saved.

    Raises:
        WeathermanError: the file does not fit the model or the rank.
    """
    state = load_file(folder / ADAPTER_FILE)
    expected = {f"{name}.weight": tuple(value.shape) for name, value in adapter.named()}
    if {name: tensor.shape for name, tensor in state.items()} != expected:
        raise WeathermanError(
            "checkpoint.adapter-shape",
            f"{folder / ADAPTER_FILE} does not fit this model and LoRA configuration.",
            "resume with the configuration that wrote it.",
        )
    adapter.replace({name.removesuffix(".weight"): mx.array(value) for name, value in state.items()})


def _moment_name(name: str, state: str) -> str:
    return f"{name}.default.weight.{state}"


def save_optimizer(optimizer: AdamW, folder: Path) -> None:
    """Write Adam's state as flat tensors `<parameter>.<state>`, with torch's names."""
    flat = {}
    for name, (mean, square) in optimizer.moments.items():
        flat[_moment_name(name, "exp_avg")] = np.array(mean)
        flat[_moment_name(name, "exp_avg_sq")] = np.array(square)
        flat[_moment_name(name, "step")] = np.array(optimizer.num_steps, np.float32)
    save_file(flat, folder / OPTIMIZER_FILE)


def load_optimizer(optimizer: AdamW, folder: Path) -> None:
    """Restore what either engine saved.

    Raises:
        WeathermanError: a parameter's state is missing or has another shape.
    """
    flat = load_file(folder / OPTIMIZER_FILE)
    steps = set()
    for name, (mean, square) in optimizer.moments.items():
        try:
            found = [flat[_moment_name(name, state)] for state in ("exp_avg", "exp_avg_sq")]
            steps.add(int(flat[_moment_name(name, "step")]))
        except KeyError:
            found = []
        if [value.shape for value in found] != [tuple(mean.shape), tuple(square.shape)]:
            text = f"{folder / OPTIMIZER_FILE} does not hold the optimizer state of {name}."
            raise WeathermanError("checkpoint.optimizer", text)
        optimizer.moments[name] = (mx.array(found[0]), mx.array(found[1]))
    if len(steps) != 1:
        raise WeathermanError("checkpoint.optimizer", f"{folder / OPTIMIZER_FILE} counts its steps in several ways.")
    optimizer.num_steps = steps.pop()
