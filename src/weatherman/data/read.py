"""Read chat JSONL line by line, in bounded memory, with errors that name file, line and field."""

from __future__ import annotations

import codecs
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from weatherman.data.strict_json import strict_json
from weatherman.data.validate import validate_row
from weatherman.errors import Problems, WeathermanError
from weatherman.records import Conversation

MAX_SHOWN_PROBLEMS = 20
MAX_LINE_BYTES = 16 * 2**20
_BLOCK_BYTES = 2**20
_PROBE_BYTES = 4096

Row = tuple[Conversation | None, list[WeathermanError]]


def read_conversations(path: Path) -> Iterator[Conversation]:
    """Yield the conversations of a file; stop at the first row that is wrong.

    Raises:
        WeathermanError: the file cannot be read or a row is not valid (`Problems` if the row has several faults).
    """
    for conversation, problems in read_rows(path):
        if problems:
            hint = f"to see every problem of the file: weatherman data check {path}"
            if len(problems) == 1:
                raise WeathermanError(problems[0].code, problems[0].message, problems[0].hint or hint)
            raise Problems("data.invalid", *_capped(problems, f"{path} cannot be used; {hint}"))
        if conversation:
            yield conversation


def check_file(path: Path) -> tuple[int, list[WeathermanError]]:
    """Validate a whole file, in bounded memory.

    Returns:
        The number of rows, and the first `MAX_SHOWN_PROBLEMS` problems in order; if there are more, one further entry
        says how many, in how many rows.

    Raises:
        WeathermanError: the file cannot be read at all.
    """
    num_rows = num_problems = num_bad_rows = 0
    found: list[WeathermanError] = []
    for _, problems in read_rows(path):
        num_rows += 1
        num_bad_rows += bool(problems)
        num_problems += len(problems)
        found.extend(problems[: MAX_SHOWN_PROBLEMS - len(found)])
    if num_problems > len(found):
        more = f"{num_problems - len(found):,} more problems"
        found.append(
            WeathermanError("data.more", f"{path.name}: {more}; {num_bad_rows:,} of {num_rows:,} rows are wrong.")
        )
    return num_rows, found


def read_line(path: Path, number: int) -> Conversation:
    """Read the conversation on one line of a file; the other lines are not checked.

    Args:
        path: the file.
        number: 1-based.

    Raises:
        WeathermanError: the file cannot be read, or the line is absent, blank or not valid.
    """
    last = 0
    for last, line in _lines(path):
        if last != number:
            continue
        conversation, problems = _read_row(line, f"{path.name}:{number}")
        if problems:
            raise Problems("data.invalid", *_capped(problems, f"{path.name}:{number} is not a valid conversation."))
        if conversation:
            return conversation
        raise WeathermanError("data.no-line", f"{path.name}:{number} is blank.")
    raise WeathermanError("data.no-line", f"{path} has {last} lines, there is no line {number}.")


def read_rows(path: Path) -> Iterator[Row]:
    """Yield each row's conversation, or its problems; blank lines are skipped.

    Raises:
        WeathermanError: the file is missing, a folder, unreadable, binary, or has no row.
    """
    found_any = False
    for number, line in _lines(path):
        if not line.strip():
            continue
        found_any = True
        yield _read_row(line, f"{path.name}:{number}")
    if not found_any:
        raise WeathermanError("data.empty", f"{path} is empty.", "one JSON object with `messages` a line is expected.")


def _lines(path: Path) -> Iterator[tuple[int, bytes]]:
    """Yield number and bytes of each line; what is over `MAX_LINE_BYTES` of a line is skipped, and the length tells."""
    try:
        if path.is_dir():
            raise WeathermanError("data.is-folder", f"{path} is a folder.", "name a .jsonl file.")
        if path.exists() and not path.is_file():
            raise WeathermanError("data.unreadable", f"{path} is not a regular file.", "name a .jsonl file.")
        with path.open("rb", buffering=_BLOCK_BYTES) as file:
            _refuse_binary(path, file)
            number = 0
            while line := file.readline(MAX_LINE_BYTES + 1):
                number += 1
                yield number, line.removeprefix(codecs.BOM_UTF8) if number == 1 else line
                while len(line) > MAX_LINE_BYTES and not line.endswith(b"\n"):
                    line = file.readline(MAX_LINE_BYTES + 1)
    except FileNotFoundError as problem:
        raise missing_file(path) from problem
    except (OSError, ValueError) as problem:  # ValueError: a path with a NUL byte
        reason = getattr(problem, "strerror", None) or problem
        raise WeathermanError("data.unreadable", f"{path}: {reason}.") from problem


def missing_file(path: Path) -> WeathermanError:
    """Make the error for a data file that is not there."""
    hint = "check its name, and the folder that it is relative to."
    if "processed" in path.parts:
        hint = "data/processed/ is made by the set-up (make setup); see data/README.md."
    return WeathermanError("data.missing", f"there is no data file {path}.", hint)


def _refuse_binary(path: Path, file: BinaryIO) -> None:
    start = file.read(_PROBE_BYTES)
    file.seek(0)
    if start.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        raise WeathermanError("data.binary", f"{path} is UTF-16 text.", "save it as UTF-8.")
    if b"\0" in start:
        place = start.index(b"\0") + 1
        raise WeathermanError("data.binary", f"{path} is not a text file (byte {place} is NUL).", "name a .jsonl file.")


def _read_row(line: bytes, source: str) -> Row:
    if len(line) > MAX_LINE_BYTES:
        limit = f"more than {MAX_LINE_BYTES // 2**20} MB in one line."
        return None, [WeathermanError("data.long-line", f"{source}: {limit}", "one conversation a line is expected.")]
    try:
        text = line.decode("utf-8").strip()
    except UnicodeDecodeError as problem:
        place = f"byte {problem.start + 1} (0x{line[problem.start]:02x})"
        return None, [WeathermanError("data.not-text", f"{source}: {place} is not UTF-8 text.", "save it as UTF-8.")]
    if not text:
        return None, []
    try:
        row = strict_json(text)
    except ValueError as problem:
        hint = "one JSON object a line is expected, not a list over many lines." if text[0] == "[" else ""
        return None, [WeathermanError("data.bad-json", f"{source}: {problem}.", hint)]
    return validate_row(row, source)


def _capped(problems: list[WeathermanError], summary: str) -> tuple[list[WeathermanError], str]:
    num_more = len(problems) - MAX_SHOWN_PROBLEMS
    return problems[:MAX_SHOWN_PROBLEMS], f"{num_more} more problems. {summary}" if num_more > 0 else summary
