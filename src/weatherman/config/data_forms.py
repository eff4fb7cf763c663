"""The forms of data files, as the configuration names them."""

from __future__ import annotations

from typing import Literal

FormatName = Literal[
    "auto", "openai", "sharegpt", "chatml", "alpaca", "xlam", "hermes", "tau-bench", "glaive", "trl", "mistral-finetune"
]
