"""Read chat JSONL line by line, in bounded memory, with errors that name file, line and field."""

from __future__ import annotations

import codecs
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from weatherman.data.validate import validate_row
from weatherman.errors import Problems, WeathermanError
from weatherman.records import Conversation

MAX_SHOWN_PROBLEMS = 20


def read_conversations(path: Path) -> Iterator[Conversation]:
    """Yield the conversations of a file; stop at the first row that is wrong.

    Raises:
        WeathermanError: the file cannot be read or a row is not valid.
    """
    for conversation, problems in read_rows(path):
        if len(problems) > 1:
            raise Problems("data.invalid", problems, f"{path} cannot be used; check it with: weatherman data check {path}")
        if problems:
            raise problems[0]
        if conversation:
            yield conversation


def check_file(path: Path) -> tuple[int, list[WeathermanError]]:
    """Validate a whole file.

    Returns:
        The number of rows and all problems, in order.

    Raises:
        WeathermanError: the file cannot be read at all.
    """
    num_rows, found = 0, []
    for _, problems in read_rows(path):
        num_rows += 1
        found.extend(problems)
    return num_rows, found


def read_rows(path: Path) -> Iterator[tuple[Conversation | None, list[WeathermanError]]]:
    """Yield each row's conversation, or its problems; blank lines are skipped.

    Raises:
        WeathermanError: the file is missing, a folder, unreadable, or has no row.
    """
    if path.is_dir():
        raise WeathermanError("data.is-folder", f"{path} is a folder.", "name a .jsonl file.")
    found_any = False
    try:
        with path.open("rb") as lines:
            for number, line in enumerate(lines, 1):
                if number == 1:
                    line = line.removeprefix(codecs.BOM_UTF8)
                if line.strip():
                    found_any = True
                    yield _read_line(line, f"{path.name}:{number}")
    except FileNotFoundError as problem:
        raise WeathermanError(
            "data.missing", f"there is no data file {path}.", "data/processed/ is made by the set-up; see data/README.md."
        ) from problem
    except OSError as problem:
        raise WeathermanError("data.unreadable", f"{path}: {problem.strerror}.") from problem
    if not found_any:
        raise WeathermanError("data.empty", f"{path} is empty.", "one JSON object with `messages` a line is expected.")


def _read_line(line: bytes, source: str) -> tuple[Conversation | None, list[WeathermanError]]:
    try:
        row = json.loads(line.decode("utf-8"), object_pairs_hook=_no_duplicates, parse_constant=_refuse_constant)
    except UnicodeDecodeError as problem:
        return None, [WeathermanError("data.not-text", f"{source}: byte {problem.start} is not UTF-8 text.")]
    except json.JSONDecodeError as problem:
        return None, [WeathermanError("data.bad-json", f"{source}: not JSON at column {problem.colno}: {problem.msg}.")]
    except RecursionError:
        return None, [WeathermanError("data.bad-json", f"{source}: nested too deeply.")]
    except ValueError as problem:
        return None, [WeathermanError("data.bad-json", f"{source}: {problem}.")]
    return validate_row(row, source)


def _no_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    values = dict(pairs)
    if len(values) != len(pairs):
        keys = [key for key, _ in pairs]
        twice = next(key for key in keys if keys.count(key) > 1)
        raise ValueError(f"the key {json.dumps(twice)} is given twice in one object")
    return values


def _refuse_constant(name: str) -> Any:
    raise ValueError(f"{name} is not JSON")
