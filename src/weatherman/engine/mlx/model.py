"""Load a base model by mlx-lm, check what it would silently take for something else, and quantise it on the way in."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import mlx.core as mx
import mlx.nn as nn

from weatherman.engine.mlx.library import import_mlx_lm
from weatherman.engine.mlx.lora import linear_shape
from weatherman.engine.mlx.rotary import DepthRope
from weatherman.errors import WeathermanError
from weatherman.models.base_model import model_folder

GROUP_SIZE = 64
_FAMILIES = ("llama", "mistral", "qwen2", "qwen3")  # their layers take (hidden, mask, cache)
_ROPE_TYPES = ("default", "linear", "llama3")
_BITS = {"none": None, "4bit": 4, "8bit": 8}
_HINT = "check the name; a gated model needs an accepted licence and HF_TOKEN (see docs/TRAINING_M4.md)."


def load_model(
    name: str, revision: str | None, dtype: mx.Dtype, quantization: str, max_seq_length: int
) -> tuple[Any, DepthRope]:
    """Load a causal language model for training.

    Args:
        name: "smollm2-135m-instruct", a local folder, or a hub id; its weights may be quantised already.
        revision: the hub's revision, or None.
        dtype: of the weights that are not quantised, and of the activations.
        quantization: "none", "4bit" or "8bit" of the frozen base, in groups of 64.
        max_seq_length: tokens of the longest row; a wider attention window does not matter.

    Returns:
        mlx-lm's model, frozen and evaluated; and the rotary module that all of its layers have now.

    Raises:
        WeathermanError: it cannot be read, or is of a kind that this engine would get wrong.
    """
    folder = fetch(name, revision)
    config = _read_config(folder, name)
    _check_family(config, name, max_seq_length)
    is_quantised = _check_quantisation(config, name, quantization)
    try:
        model, _ = import_mlx_lm().load_model(folder, lazy=True, model_config=_rope_for_mlx(config, name))
    except (OSError, ValueError, KeyError, RuntimeError) as problem:
        first_line = (str(problem).strip().splitlines() or [type(problem).__name__])[0]
        raise WeathermanError("model.unreadable", f"cannot load the model {name!r}: {first_line}", _HINT) from problem
    model.set_dtype(dtype)
    bits = _BITS[quantization]
    if bits and not is_quantised:
        _check_groups(model, name)
        nn.quantize(model, group_size=GROUP_SIZE, bits=bits)
    model.freeze()
    for layer in model.layers:  # one at a time: the file's own weights need not be in memory all at once
        mx.eval(layer.parameters())
    mx.eval(model.parameters())
    return model, _replace_rope(model, name)


def fetch(name: str, revision: str | None) -> Path:
    """The folder of a base model, fetched from the hub if it has to be.

    Raises:
        WeathermanError: it cannot be had, or is GGUF.
    """
    if name.lower().endswith(".gguf") or (Path(name).is_dir() and _holds_only_gguf(Path(name))):
        raise WeathermanError(
            "model.gguf",
            f"{name} is in the GGUF format, which the MLX engine does not train on.",
            "use the model's own folder of safetensors, or an mlx-community folder in 4 bits.",
        )
    place = model_folder(name)
    if isinstance(place, Path):
        return place
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError

    try:
        wanted = ["*.json", "model*.safetensors", "*.jinja"]
        return Path(snapshot_download(place, revision=revision, allow_patterns=wanted))
    except (OSError, HfHubHTTPError, HFValidationError, LocalEntryNotFoundError) as problem:
        first_line = (str(problem).strip().splitlines() or [type(problem).__name__])[0]
        raise WeathermanError("model.unreadable", f"cannot load the model {name!r}: {first_line}", _HINT) from problem


def _holds_only_gguf(folder: Path) -> bool:
    return any(folder.glob("*.gguf")) and not any(folder.glob("*.safetensors"))


def _read_config(folder: Path, name: str) -> dict[str, Any]:
    try:
        found = json.loads((folder / "config.json").read_text(encoding="utf-8"))
        if not isinstance(found, dict):
            raise ValueError("it is no JSON object")
        return found
    except (OSError, ValueError) as problem:
        text = f"cannot load the model {name!r}: its config.json cannot be read: {problem}."
        raise WeathermanError("model.unreadable", text, _HINT) from problem


def _check_family(config: dict[str, Any], name: str, max_seq_length: int) -> None:
    family = config.get("model_type")
    if family not in _FAMILIES:
        raise WeathermanError(
            "model.family",
            f"the MLX engine knows {', '.join(_FAMILIES)}; {name!r} is a {str(family)[:40]!r} model.",
            "set engine: torch.",
        )
    window = config.get("sliding_window") if config.get("use_sliding_window", True) else None
    if window and int(window) < max_seq_length:
        raise WeathermanError(
            "model.sliding-window",
            f"{name} uses a sliding attention window of {window} tokens, which a prefix tree does not support.",
            f"set max_seq_length to {window} or less.",
        )


def _rope_for_mlx(config: dict[str, Any], name: str) -> dict[str, Any]:
    """Write transformers 5's `rope_parameters` as mlx-lm's Llama reads them; it would take theta for 10,000."""
    parameters = dict(config.get("rope_parameters") or config.get("rope_scaling") or {})
    theta = parameters.pop("rope_theta", None) or config.get("rope_theta") or 10000.0
    kind = parameters.get("rope_type") or parameters.get("type") or "default"
    if kind not in _ROPE_TYPES or config.get("rope_traditional") or config.get("partial_rotary_factor", 1) != 1:
        raise WeathermanError(
            "model.rope",
            f"the model {name!r} uses {str(kind)[:40]!r} rotary positions, which the MLX engine does not know.",
            "use a model with fixed rotary positions (Llama, Mistral, Qwen, SmolLM2), or engine: torch.",
        )
    return {
        "rope_theta": float(theta),
        "rope_scaling": None if kind == "default" else {**parameters, "rope_type": kind},
        "rope_parameters": None,
    }


def _check_quantisation(config: dict[str, Any], name: str, wanted: str) -> bool:
    """Whether the folder's weights are quantised; refuses what would not be what the configuration says."""
    found = config.get("quantization")
    if not isinstance(found, dict):
        if config.get("quantization_config"):
            method = str(dict(config["quantization_config"]).get("quant_method"))[:40]
            text = f"{name} is quantised by {method!r}, which the MLX engine does not train on."
            raise WeathermanError("model.quantization", text, "use the unquantised model, and quantization: 4bit.")
        return False
    parts = [found, *(part for part in found.values() if isinstance(part, dict))]
    for part in parts:
        size, mode = part.get("group_size"), part.get("mode", "affine")
        if size != GROUP_SIZE or mode != "affine":
            raise WeathermanError(
                "model.quantization",
                f"{name} is quantised in groups of {size}, mode {mode}; this engine trains on affine groups of "
                f"{GROUP_SIZE} alone, which it proves at the start.",
                "use the unquantised model, and quantization: 4bit.",
            )
    if any(part.get("bits") != _BITS[wanted] for part in parts):
        bits = ", ".join(sorted({str(part.get("bits")) for part in parts}))
        text = f"{name} is quantised to {bits} bits, and quantization is {wanted}."
        raise WeathermanError("model.quantization", text, f"set quantization: {parts[0].get('bits')}bit.")
    return True


def _check_groups(model: Any, name: str) -> None:
    for path, module in model.named_modules():
        if isinstance(module, nn.Linear) and (width := linear_shape(module)[1]) % GROUP_SIZE:
            raise WeathermanError(
                "model.quantization",
                f"{name}: {path} has {width} inputs, which groups of {GROUP_SIZE} do not divide.",
                "set quantization: none.",
            )


def _replace_rope(model: Any, name: str) -> DepthRope:
    head_dim = model.layers[0].self_attn.rope.dims
    attention = model.layers[0].self_attn
    num_outputs = linear_shape(attention.q_proj)[0]
    if num_outputs != head_dim * attention.n_heads:
        text = f"the model {name!r} rotates only a part of each head, which the MLX engine does not know."
        raise WeathermanError("model.rope", text, "set engine: torch.")
    rope = DepthRope(attention.rope, head_dim)
    for layer in model.layers:
        layer.self_attn.rope = rope
    return rope
