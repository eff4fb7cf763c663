"""docs/CONFIG.md, written from the configuration's schema, so that it cannot differ from it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from weatherman.config.dates import DATE_PARTS, DATED_KEYS
from weatherman.config.problems import allowed_values
from weatherman.config.schema import TrainingConfig

_INTRODUCTION = """\
# The configuration

A configuration is a YAML file of `key: value` lines; `configs/` holds four. Every key is optional and has the default
below. One key is overridden by `--set`, its value read as YAML:

    weatherman train --config configs/training_config_demo.yaml --set learning_rate=5e-4 --set max_steps=20

- Every problem is reported at once, with its file and line, the value and what is allowed; nothing is started then.
- Paths are relative to the folder that the command is run from. `~` and `$VARIABLES` are not filled in.
- Nothing in a configuration is ever executed. `$(date +FMT)` in {dated} is filled in
  without a shell, once, when the file is read; FMT may use {parts}.
- Values are YAML 1.2's plain ones: `null`, `true` and `false`, numbers (`2e-4` is one), text, lists. `yes`, `no`,
  `on` and `off` are text. Tags (`!!…`), anchors (`&a`) and aliases (`*a`) are refused, and so is a key that is
  given twice.
- A step's examples are per_device_train_batch_size x gradient_accumulation_steps.

| key | default | allowed | meaning |
|---|---|---|---|
"""


def config_reference() -> str:
    """Write docs/CONFIG.md.

    Returns:
        The page, as Markdown: every key with its default, what it may hold and what it means.
    """
    fields = TrainingConfig.model_json_schema()["properties"]
    dated = " and ".join(f"`{key}`" for key in DATED_KEYS)
    parts = " ".join(f"`%{part}`" for part in DATE_PARTS)
    introduction = _INTRODUCTION.format(dated=dated, parts=parts)
    return introduction + "".join(_row(key, field) for key, field in fields.items())


def _row(key: str, field: Mapping[str, Any]) -> str:
    cells = (f"`{key}`", f"`{_yaml(field['default'])}`", allowed_values(field), field["description"])
    return "| " + " | ".join(cell.replace("|", r"\|").replace("\n", " ") for cell in cells) + " |\n"


def _yaml(value: Any) -> str:
    if isinstance(value, list):
        return f"[{', '.join(_yaml(item) for item in value)}]"
    return value if isinstance(value, str) else json.dumps(value)
