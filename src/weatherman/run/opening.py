"""One attempt at a run, from its lock to its last word."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from weatherman.checkpoints.checkpoint import clean_staging
from weatherman.config.schema import TrainingConfig
from weatherman.errors import WeathermanError
from weatherman.run.lock import run_lock
from weatherman.run.run import Run
from weatherman.run.stop import StopNow
from weatherman.system.disk_errors import as_disk_error


@contextmanager
def open_run(config: TrainingConfig, overrides: Sequence[str], *, reset_crash_loop: bool) -> Iterator[Run]:
    """Open, or go on with, the run in `config.output_dir`.

    Takes the lock, counts the attempt, and records how it ends, whatever it ends with.

    Raises:
        WeathermanError: another trainer works there, the folder cannot be used, or the run is in a crash loop.
    """
    folder = Path(config.output_dir)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as problem:
        text = f"the run's folder {folder} cannot be made: {problem.strerror}."
        raise WeathermanError("run.folder", text, "give an output_dir that can be written.") from problem
    with run_lock(folder):
        run = Run(config, list(overrides), folder)
        try:
            clean_staging(folder)
            run.begin(reset_crash_loop)
            yield run
        except StopNow as asked:
            run.record_stop(asked.exit_code, run.words_for_leaving())
            raise
        except BaseException as problem:
            told = as_disk_error(problem, folder) or problem
            run.record_failure(told)
            raise told from told.__cause__
