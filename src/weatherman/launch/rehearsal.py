"""`--rehearse`: the real flow with a small stand-in model and few steps, before any money is spent."""

from __future__ import annotations

import importlib.util
import json
import os
from pathlib import Path
from typing import Any

from weatherman.config.schema import TrainingConfig
from weatherman.config.yaml_reader import parse_value
from weatherman.errors import WeathermanError
from weatherman.models.base_model import DEMO_MODEL
from weatherman.run.folder import next_run_folder

MODEL_VARIABLE = "WEATHERMAN_REHEARSAL_MODEL"
NUM_STEPS = 10
_SYNTHETIC = {
    "train_file": "data/synthetic/final_train.jsonl",
    "validation_file": "data/synthetic/final_validation.jsonl",
}


def rehearsal_overrides(config: TrainingConfig) -> list[str]:
    """What a rehearsal changes of a configuration, as `key=value` texts.

    The model is the packaged demo model, or the folder that `WEATHERMAN_REHEARSAL_MODEL` names. The run's folder is
    `<output_dir>-rehearsal-<time>`, that of the last rehearsal if it is unfinished.
    """
    changes: dict[str, Any] = {
        "model_name_or_path": os.environ.get(MODEL_VARIABLE) or DEMO_MODEL,
        "model_revision": None,
        "chat_template": "auto",
        "dtype": "float32",
        "device": "auto",
        "attn_implementation": "auto",
        **({} if importlib.util.find_spec("mlx") else {"engine": "auto"}),
        "quantization": "none",
        "output_dir": str(next_run_folder(Path(f"{config.output_dir}-rehearsal"))),
        "max_seq_length": min(config.max_seq_length, 1024),
        "max_steps": NUM_STEPS,
        "max_train_examples": 16,
        "max_eval_examples": 4,
        "per_device_train_batch_size": 1,
        "gradient_accumulation_steps": 2,
        "save_steps": 3,
        "gradient_checkpointing": False,  # a small model needs neither, and on a CPU both cost minutes
        "lora_dropout": 0.0,
        "eval_steps": None,
        "logging_steps": 1,
        "num_tool_eval_prompts": 1,
        "sample_prompts": ["How is the weather in Oslo?"],
    }
    for key, synthetic in _SYNTHETIC.items():
        if not Path(getattr(config, key)).exists():
            changes |= {key: synthetic, "personas": []}  # the configuration's may be those of its own data
    return [as_override(key, value) for key, value in changes.items()]


def as_override(key: str, value: Any) -> str:
    """Write `key=value` so that it is read back as the same value, whatever a text holds; plainly where possible."""
    try:
        plain = isinstance(value, str) and parse_value(value) == value
    except WeathermanError:
        plain = False
    return f"{key}={value if plain else json.dumps(value, ensure_ascii=False)}"
