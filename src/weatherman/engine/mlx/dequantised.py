"""The base that a quantised run was trained on, written out in 16 bits: what its adapter can be merged into exactly."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import mlx.core as mx
from mlx.utils import tree_flatten

from weatherman.engine.mlx.library import import_mlx_lm
from weatherman.engine.mlx.model import fetch, load_model

_NO_WINDOW = 1  # a sliding window does not matter to weights
_CONFIG = "config.json"


def write_dequantised(name: str, revision: str | None, quantization: str, folder: Path) -> None:
    """Quantise a base as training did, dequantise it, and write it for transformers, tokenizer files included.

    Args:
        name: the base model, as in the configuration.
        revision: the hub's, or None.
        quantization: "4bit" or "8bit".
        folder: is made.
    """
    source = fetch(name, revision)
    folder.mkdir(parents=True)
    for path in sorted(source.glob("*.json")):
        if not path.name.endswith(".index.json"):
            shutil.copyfile(path, folder / path.name)
    config = json.loads((source / _CONFIG).read_text(encoding="utf-8"))
    dtype = mx.float32 if config.get("dtype", config.get("torch_dtype")) == "float32" else mx.bfloat16
    model, _ = load_model(name, revision, dtype, quantization, _NO_WINDOW)
    import_mlx_lm().dequantize_model(model)
    weights = {key: value.astype(dtype) for key, value in tree_flatten(model.parameters())}
    mx.save_safetensors(str(folder / "model.safetensors"), weights, metadata={"format": "pt"})
    plain = {key: value for key, value in config.items() if not key.startswith("quantization")}
    (folder / _CONFIG).write_text(json.dumps(plain, indent=2) + "\n", encoding="utf-8")
