"""The LoRA adapter: made by PEFT, saved in PEFT's format, with A drawn from the run's seed."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import torch
from peft import LoraConfig, PeftModel, get_peft_model, get_peft_model_state_dict, set_peft_model_state_dict
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from transformers import PreTrainedModel

from weatherman.config.schema import TrainingConfig
from weatherman.engine.stateless import stateless_seed
from weatherman.errors import WeathermanError

ADAPTER_FILE = "adapter_model.safetensors"
CONFIG_FILE = "adapter_config.json"


def add_adapter(model: PreTrainedModel, config: TrainingConfig) -> PeftModel:
    """Wrap `model` with a fresh float32 LoRA adapter; the global random state is left as it was.

    Raises:
        WeathermanError: the model has none of the target modules.
    """
    lora = LoraConfig(
        r=config.lora_r,
        lora_alpha=config.lora_alpha,
        lora_dropout=config.lora_dropout,
        target_modules=list(config.target_modules),
        bias="none",
        task_type="CAUSAL_LM",
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(stateless_seed(config.seed, "lora"))
        try:
            wrapped = get_peft_model(model, lora, autocast_adapter_dtype=True)
        except ValueError as problem:
            raise WeathermanError("model.target-modules", f"cannot attach LoRA: {problem}") from problem
    return wrapped  # type: ignore[return-value]


def trainable(model: nn.Module) -> Iterator[tuple[str, nn.Parameter]]:
    """The adapter's parameters by name, in the model's order."""
    return ((name, parameter) for name, parameter in model.named_parameters() if parameter.requires_grad)


def save_adapter(model: PeftModel, folder: Path) -> None:
    """Write `adapter_model.safetensors` and `adapter_config.json`, as PEFT reads them."""
    folder.mkdir(parents=True, exist_ok=True)
    state = {name: tensor.detach().cpu().contiguous() for name, tensor in get_peft_model_state_dict(model).items()}
    save_file(state, folder / ADAPTER_FILE, metadata={"format": "pt"})
    adapter = model.peft_config["default"]
    inference_mode, adapter.inference_mode = adapter.inference_mode, True
    adapter.save_pretrained(str(folder))
    adapter.inference_mode = inference_mode
    path = folder / CONFIG_FILE  # PEFT writes the modules in the order of a set, another one in every process
    settings = json.loads(path.read_text(encoding="utf-8"))
    settings["target_modules"] = sorted(settings["target_modules"])
    path.write_text(json.dumps(settings, indent=2, sort_keys=True) + "\n", encoding="utf-8")


def load_adapter(model: PeftModel, folder: Path) -> None:
    """Restore an adapter that `save_adapter` wrote.

    Raises:
        WeathermanError: the file does not fit the model.
    """
    state = load_file(folder / ADAPTER_FILE)
    expected = get_peft_model_state_dict(model)
    if {name: tensor.shape for name, tensor in state.items()} != {n: t.shape for n, t in expected.items()}:
        raise WeathermanError(
            "checkpoint.adapter-shape",
            f"{folder / ADAPTER_FILE} does not fit this model and LoRA configuration.",
            "resume with the configuration that wrote it.",
        )
    set_peft_model_state_dict(model, state)


def save_optimizer(optimizer: torch.optim.Optimizer, model: nn.Module, path: Path) -> None:
    """Write Adam's state as flat tensors `<parameter>.<state>`; no pickle."""
    flat: dict[str, Tensor] = {}
    for name, parameter in trainable(model):
        for key, value in optimizer.state[parameter].items():
            flat[f"{name}.{key}"] = torch.as_tensor(value).detach().cpu().contiguous()
    save_file(flat, path)


def load_optimizer(optimizer: torch.optim.Optimizer, model: nn.Module, path: Path) -> None:
    """Restore what `save_optimizer` wrote.

    Raises:
        WeathermanError: a parameter's state is missing or has another shape.
    """
    flat = load_file(path)
    for name, parameter in trainable(model):
        state = {key.rpartition(".")[2]: value for key, value in flat.items() if key.rpartition(".")[0] == name}
        if set(state) != {"step", "exp_avg", "exp_avg_sq"} or state["exp_avg"].shape != parameter.shape:
            raise WeathermanError("checkpoint.optimizer", f"{path} does not hold the optimizer state of {name}.")
        optimizer.state[parameter] = {
            "step": state["step"],
            "exp_avg": state["exp_avg"].to(parameter.device),
            "exp_avg_sq": state["exp_avg_sq"].to(parameter.device),
        }
