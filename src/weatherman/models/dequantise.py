"""Turn the packaged, quantised demo model into a folder that transformers loads in a second."""

from __future__ import annotations

import contextlib
import io
import json
import os
import shutil
from pathlib import Path
from typing import Any

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer
from transformers.utils import logging as transformers_logging


def dequantise(source: Path, folder: Path, marker: str) -> None:
    """Turn a quantised GGUF into a float32 model folder, which appears only when it is complete.

    Args:
        source: the GGUF file.
        folder: where the model is wanted.
        marker: name of the file that says so, written last.
    """
    transformers_logging.disable_progress_bar()
    staging = folder.with_name(f"{folder.name}.{os.getpid()}.part")
    shutil.rmtree(staging, ignore_errors=True)
    staging.mkdir(parents=True)
    with contextlib.redirect_stderr(io.StringIO()):  # progress bars that heed no setting
        model: Any = AutoModelForCausalLM.from_pretrained(source.parent, gguf_file=source.name, dtype=torch.float32)
        del model.config.quantization_config
        model.hf_quantizer = None
        model.save_pretrained(staging)
        AutoTokenizer.from_pretrained(source.parent, gguf_file=source.name).save_pretrained(staging)
    (staging / marker).write_text(json.dumps({"source": source.name, "bytes": source.stat().st_size}))
    shutil.rmtree(folder, ignore_errors=True)
    staging.rename(folder)
