"""Which folder the next start of a run works in."""

from __future__ import annotations

import datetime
import re
from pathlib import Path

from weatherman.checkpoints.resume import read_resume
from weatherman.errors import WeathermanError

RUN_FILE = "run.json"
_TIMESTAMP = "%Y%m%d-%H%M%S"


def next_run_folder(base: Path) -> Path:
    """The folder of `base`'s newest run if that is unfinished, else a new one, named by the time.

    A run that cannot be read counts as unfinished: the start that is given its folder says what is wrong with it.
    """
    pattern = re.compile(re.escape(base.name) + r"-\d{8}-\d{6}")
    runs = sorted(path for path in base.parent.glob(f"{base.name}-*") if pattern.fullmatch(path.name) and path.is_dir())
    if runs:
        try:
            state = read_resume(runs[-1])
        except WeathermanError:
            return runs[-1]
        if state is not None and not state.finished:
            return runs[-1]
    return base.with_name(f"{base.name}-{datetime.datetime.now():{_TIMESTAMP}}")
