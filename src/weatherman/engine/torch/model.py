"""Load the base model and its tokenizer folder, from the packaged demo model, a local folder or the hub."""

from __future__ import annotations

from typing import Any

import torch
from transformers import AutoConfig, AutoModelForCausalLM, PreTrainedModel
from transformers.utils import logging as transformers_logging

from weatherman.errors import WeathermanError
from weatherman.models.base_model import model_folder

transformers_logging.disable_progress_bar()
transformers_logging.set_verbosity_error()
_LENGTH_DEPENDENT_ROPE = ("dynamic", "longrope")


def load_model(name: str, revision: str | None, dtype: torch.dtype, device: torch.device) -> PreTrainedModel:
    """Load a causal language model for training.

    Args:
        name: "smollm2-135m-instruct", a local folder, or a hub id.
        revision: the hub's revision, or None.
        dtype: of the frozen weights.
        device: where to put them.

    Returns:
        The model, frozen, in training mode.

    Raises:
        WeathermanError: it cannot be read, or its positions depend on the length of the sequence.
    """
    place = model_folder(name)
    try:
        config = AutoConfig.from_pretrained(place, revision=revision)
        _check_rope(config, name)
        model: Any = AutoModelForCausalLM.from_pretrained(
            place, config=config, revision=revision, dtype=dtype, use_safetensors=True
        )
    except (OSError, ValueError) as problem:
        first_line = str(problem).strip().splitlines()[0]
        raise WeathermanError(
            "model.unreadable",
            f"cannot load the model {name!r}: {first_line}",
            "check the name; a gated model needs an accepted licence and HF_TOKEN (see docs/TRAINING_H100.md).",
        ) from problem
    model.requires_grad_(False)
    loaded: PreTrainedModel = model.to(device)
    return loaded.train()


def _check_rope(config: Any, name: str) -> None:
    parameters = getattr(config, "rope_parameters", None) or getattr(config, "rope_scaling", None) or {}
    kind = parameters.get("rope_type", "default")
    if kind in _LENGTH_DEPENDENT_ROPE:
        raise WeathermanError(
            "model.rope",
            f"the model {name!r} uses {kind!r} rotary positions, which depend on the sequence's length.",
            "use a model with fixed rotary positions (Llama, Mistral, SmolLM2).",
        )
