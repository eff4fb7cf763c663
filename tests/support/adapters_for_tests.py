"""Adapters without training: LoRA weights drawn at random on the packaged demo model, or on a tiny one."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import torch

from tokenizers_for_tests import smollm2_folder
from weatherman.config.schema import TrainingConfig
from weatherman.engine.torch.lora import add_adapter, save_adapter
from weatherman.engine.torch.model import load_model

TINY = {
    "hidden_size": 64, "intermediate_size": 96, "num_hidden_layers": 2, "num_attention_heads": 4,
    "num_key_value_heads": 2, "vocab_size": 49152, "max_position_embeddings": 2048, "tie_word_embeddings": True,
    "bos_token_id": 1, "eos_token_id": 2, "pad_token_id": 2,
}  # fmt: skip


def tiny_model(folder: Path, **changes: Any) -> Path:
    """A Llama of random weights with SmolLM2's vocabulary."""
    from transformers import LlamaConfig, LlamaForCausalLM

    with torch.random.fork_rng():
        torch.manual_seed(1)
        LlamaForCausalLM(LlamaConfig(**TINY | changes)).save_pretrained(folder)
    for file in smollm2_folder().iterdir():
        shutil.copy(file, folder / file.name)
    return folder


def random_adapter(folder: Path, base: str, strength: float = 0.01) -> Path:
    """A LoRA adapter whose B is not zero, with the base's tokenizer beside it."""
    config = TrainingConfig(model_name_or_path=base, lora_r=8, lora_alpha=16)
    model = add_adapter(load_model(base, None, torch.float32, torch.device("cpu")), config)
    generator = torch.Generator().manual_seed(7)
    for name, parameter in model.named_parameters():
        if "lora_B" in name:
            parameter.data.normal_(0, strength, generator=generator)
    save_adapter(model, folder)
    for file in smollm2_folder().iterdir():
        shutil.copy(file, folder / file.name)
    return folder
