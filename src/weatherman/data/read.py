"""Read conversations from files of any form, in bounded memory, with errors that name file, row and field."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from weatherman.data.changes import Changes
from weatherman.data.decoded import Decoded, with_form
from weatherman.data.formats.form import Form
from weatherman.data.places import DataFile, data_files
from weatherman.data.reading import PLAIN, Reading
from weatherman.data.validate import validate_row
from weatherman.errors import Problems, WeathermanError
from weatherman.records import Conversation

MAX_SHOWN_PROBLEMS = 20

Row = tuple[Conversation | None, list[WeathermanError]]


def read_conversations(path: Path, reading: Reading = PLAIN, changes: Changes | None = None) -> Iterator[Conversation]:
    """Yield the conversations of a file; stop at the first row that is wrong.

    Args:
        path: a file, a pattern, a folder, or several of these (`data.places`).
        reading: how they are to be read.
        changes: gets the count of what was changed.

    Raises:
        WeathermanError: the file cannot be read or a row is not valid (`Problems` if the row has several faults).
    """
    for conversation, problems in read_rows(path, reading, changes):
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


def read_line(path: Path, number: int, reading: Reading = PLAIN) -> Conversation:
    """Read the conversation on one line of a file; the other lines are not checked.

    Args:
        path: the file.
        number: 1-based; of a list or a table, the row's number.
        reading: how it is to be read.

    Raises:
        WeathermanError: the file cannot be read, or the line is absent, blank or not valid.
    """
    file = replace(data_files(path)[0], share=1.0)
    form, reading, rows = with_form(file, reading)
    last = 0
    for row in rows:
        last = row[0]
        if last > number:
            raise WeathermanError("data.no-line", f"{file.path.name}:{number} is blank.")
        if last == number:
            conversation, problems = _read_row(row, file, form, reading, None)
            if conversation is None:
                summary = f"{file.path.name}:{number} is not a valid conversation."
                raise Problems("data.invalid", *_capped(problems, summary))
            return conversation
    raise WeathermanError("data.no-line", f"{path} has {last} lines, there is no line {number}.")


def read_rows(path: Path, reading: Reading = PLAIN, changes: Changes | None = None) -> Iterator[Row]:
    """Yield each row's conversation, or its problems; blank lines are skipped.

    Args:
        path: a file, a pattern, a folder, or several of these (`data.places`).
        reading: how they are to be read.
        changes: gets the count of what was changed in the rows that are valid.

    Raises:
        WeathermanError: a file is missing, unreadable, binary, in no form that is known, or has no row.
    """
    for file in data_files(path):
        form, chosen, rows = with_form(file, reading)
        for row in rows:
            yield _read_row(row, file, form, chosen, changes)


def _read_row(row: Decoded, file: DataFile, form: Form, reading: Reading, changes: Changes | None) -> Row:
    number, value, problem = row
    if problem:
        return None, [problem]
    source, made = f"{file.path.name}:{number}", Changes()
    if isinstance(value, dict):
        try:
            value = form.to_openai(value, made)
        except ValueError as cause:
            hint = f"the file is read as {form.name}; --from, or data_format, names another form."
            return None, [WeathermanError("data.invalid", f"{source} {cause}.", hint)]
    return validate_row(value, source, reading, changes, made=made)


def _capped(problems: list[WeathermanError], summary: str) -> tuple[list[WeathermanError], str]:
    num_more = len(problems) - MAX_SHOWN_PROBLEMS
    return problems[:MAX_SHOWN_PROBLEMS], f"{num_more} more problems. {summary}" if num_more > 0 else summary
