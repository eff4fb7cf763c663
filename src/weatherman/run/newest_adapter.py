"""Which adapter is meant when none is named: that of the newest finished run."""

from __future__ import annotations

from pathlib import Path

from weatherman.checkpoints.resume import read_resume
from weatherman.errors import WeathermanError
from weatherman.models.adapter import ADAPTER_CONFIG, ADAPTER_FOLDER, ADAPTER_WEIGHTS


def newest_adapter(runs_root: Path = Path("runs")) -> Path:
    """Find the adapter of the newest finished run.

    Args:
        runs_root: where runs are.

    Returns:
        The adapter's folder.

    Raises:
        WeathermanError: there is no finished run.
    """
    found = []
    for run in runs_root.iterdir() if runs_root.is_dir() else ():
        weights = run / ADAPTER_FOLDER / ADAPTER_WEIGHTS
        if weights.is_file() and (run / ADAPTER_FOLDER / ADAPTER_CONFIG).is_file() and _is_finished(run):
            found.append((weights.stat().st_mtime, weights.parent))
    if not found:
        raise WeathermanError(
            "adapter.none", f"there is no finished run in {runs_root}/.", "make train, or name a folder: --adapter DIR"
        )
    return max(found)[1]


def _is_finished(run: Path) -> bool:
    try:
        state = read_resume(run)
    except WeathermanError:
        return False
    return state is None or state.finished
