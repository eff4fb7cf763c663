"""An adapter in mlx-lm's own format, which `mlx_lm.generate` and `mlx_lm.fuse` read; MLX is not needed for that.

mlx-lm names the transpose of PEFT's `X.lora_A.weight` `X.lora_a`, and keeps scale = alpha / r instead of alpha.
"""

from __future__ import annotations

import json
import re
import shlex
from pathlib import Path

from weatherman.errors import WeathermanError
from weatherman.models.adapter import ADAPTER_CONFIG, ADAPTER_WEIGHTS, AdapterPlace
from weatherman.models.base_model import model_folder

WEIGHTS, CONFIG = "adapters.safetensors", "adapter_config.json"
_NAME = re.compile(r"base_model\.model\.(model\.layers\.(\d+)\.([a-z_.]+))\.lora_([AB])\.weight", re.ASCII)


def write_mlx_adapter(place: AdapterPlace, folder: Path) -> list[str]:
    """Write `adapters.safetensors` and `adapter_config.json` as mlx-lm reads them.

    Args:
        place: the adapter, in PEFT's format.
        folder: an existing folder.

    Returns:
        The names of the files.

    Raises:
        WeathermanError: the adapter is of a kind that mlx-lm has no name for.
    """
    from safetensors.numpy import load_file, save_file

    settings = json.loads((place.folder / ADAPTER_CONFIG).read_text(encoding="utf-8"))
    if settings.get("use_dora") or settings.get("use_rslora") or settings.get("rank_pattern"):
        text = f"{place.folder} is no plain LoRA adapter (DoRA, rank-stabilised, or of several ranks)."
        raise WeathermanError("export.mlx", text, "export it without --for mlx.")
    tensors, keys, layers = {}, set(), set()
    for name, tensor in load_file(place.folder / ADAPTER_WEIGHTS).items():
        found = _NAME.fullmatch(name)
        if found is None:
            text = f"{place.folder / ADAPTER_WEIGHTS} holds {name[:80]!r}, which mlx-lm has no name for."
            raise WeathermanError("export.mlx", text, "export it without --for mlx.")
        tensors[f"{found[1]}.lora_{found[4].lower()}"] = tensor.T.copy()
        keys.add(found[3])
        layers.add(int(found[2]))
    save_file(tensors, folder / WEIGHTS, metadata={"format": "mlx"})
    parameters = {
        "rank": settings["r"],
        "scale": settings["lora_alpha"] / settings["r"],
        "dropout": 0.0,
        "keys": sorted(keys),
    }
    config = {
        "fine_tune_type": "lora", "num_layers": len(layers), "lora_parameters": parameters,
        "model": place.base_model, "quantization": str(place.config.get("quantization", "none")),
    }  # fmt: skip
    (folder / CONFIG).write_text(json.dumps(config, indent=2, sort_keys=True) + "\n", encoding="utf-8")
    return [CONFIG, WEIGHTS]


def mlx_commands(place: AdapterPlace, folder: Path) -> list[tuple[str, str]]:
    """What to run next, as (purpose, command); a base that was trained in 4 bits is to be used in 4 bits."""
    base, adapter = str(model_folder(place.base_model)), shlex.quote(str(folder))
    found: list[tuple[str, str]] = []
    quantization = str(place.config.get("quantization", "none"))
    if quantization in ("4bit", "8bit"):
        bits, small = quantization.removesuffix("bit"), f"{folder.name}-base-{quantization}"
        convert = (
            f"mlx_lm.convert --hf-path {shlex.quote(base)} --mlx-path {small} -q --q-bits {bits} --q-group-size 64"
        )
        found.append(("the base as it was trained", convert))
        base = small
    ask = f"mlx_lm.generate --model {shlex.quote(base)} --adapter-path {adapter} --prompt 'Is it wet in Oslo?'"
    return [*found, ("ask", ask), ("serve", f"mlx_lm.server --model {shlex.quote(base)} --adapter-path {adapter}")]
