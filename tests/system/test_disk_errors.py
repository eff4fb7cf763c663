from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from weatherman.errors import WeathermanError
from weatherman.system.disk_errors import as_disk_error, error_number

RUN = Path("/runs/one")


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EIO, errno.EFBIG])
def test_refusing_disk_is_told_with_place_and_advice(number: int) -> None:
    told = as_disk_error(OSError(number, "x", "/runs/one/run.json"), RUN)
    assert told is not None
    assert (told.code, told.message) == ("run.disk", f"/runs/one/run.json: {os.strerror(number)}.")
    assert told.hint
    elsewhere = as_disk_error(OSError(number, "x"), RUN)
    assert elsewhere is not None
    assert elsewhere.message == f"/runs/one: {os.strerror(number)}."


def test_library_words_are_understood() -> None:
    problem = RuntimeError("Error while serializing: I/O error: No space left on device (os error 28)")
    assert error_number(problem) == errno.ENOSPC
    told = as_disk_error(problem, RUN)
    assert told is not None
    assert told.message == "/runs/one: No space left on device."


def test_file_of_the_run_that_is_gone_is_told() -> None:
    told = as_disk_error(FileNotFoundError(errno.ENOENT, "x", "/runs/one/adapter"), RUN)
    assert told is not None
    assert "deleted or moved" in told.hint


@pytest.mark.parametrize(
    "problem",
    [
        ValueError("no disk"),
        FileNotFoundError(errno.ENOENT, "x", "/elsewhere"),
        ConnectionError("hub"),
        WeathermanError("a", "os error 28"),
        KeyboardInterrupt(),
    ],
)
def test_others_are_left_alone(problem: BaseException) -> None:
    assert as_disk_error(problem, RUN) is None
