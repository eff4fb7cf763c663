"""A finished run that is started again: it is only called finished if it is the run that was asked for."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from weatherman import messages
from weatherman.checkpoints.checkpoint import list_checkpoints
from weatherman.checkpoints.manifest import quick_check
from weatherman.checkpoints.state import frozen_problem, read_frozen
from weatherman.config.schema import TrainingConfig
from weatherman.errors import WeathermanError
from weatherman.run.folder import RUN_FILE
from weatherman.run.provenance import refuse_changes
from weatherman.run.training_data import identify_data
from weatherman.system.atomic import read_json_object

_MAX_BYTES = 2**22


def refuse_another_run(output_dir: Path, config: TrainingConfig) -> None:
    """Refuse to take a finished run for the one that `config` describes, if it is not; nothing is changed.

    Args:
        output_dir: the finished run's folder.
        config: today's configuration.

    Raises:
        Problems: settings, data, template or tokenizer differ; each by name, with both values.
        WeathermanError: the training file is gone.
    """
    frozen = _frozen(output_dir)
    if frozen is None:
        messages.warning(f"{output_dir} does not say what it was trained with; nothing can be compared.")
    else:
        refuse_changes(frozen, config, identify_data(config), output_dir)


def _frozen(output_dir: Path) -> dict[str, Any] | None:
    """What the run was made with: of `run.json`, or where that is damaged, of a checkpoint."""
    try:
        frozen = read_json_object(output_dir / RUN_FILE, _MAX_BYTES).get("frozen")
    except (OSError, ValueError):
        frozen = None
    if isinstance(frozen, dict) and not frozen_problem(frozen):
        return frozen
    for _, path in list_checkpoints(output_dir):
        try:
            quick_check(path)
            return read_frozen(path)
        except (WeathermanError, OSError):
            continue
    return None
