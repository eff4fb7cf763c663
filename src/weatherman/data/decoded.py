"""The rows of a file as JSON values, with the form that the file is in."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import replace
from itertools import chain
from typing import Any

from weatherman.data.changes import Changes
from weatherman.data.containers import MAX_ROW_BYTES, raw_rows
from weatherman.data.formats.form import Form
from weatherman.data.formats.registry import FORMS, not_recognised, recognise
from weatherman.data.places import DataFile
from weatherman.data.reading import Reading
from weatherman.data.strict_json import strict_json
from weatherman.data.tools_from_calls import as_text, declare_tools
from weatherman.errors import WeathermanError

_ROWS_LOOKED_AT = 50
_WITHOUT_TOOLS = "tau-bench"

Decoded = tuple[int, Any, "WeathermanError | None"]


def decoded_rows(file: DataFile) -> Iterator[Decoded]:
    """Yield number, value and problem of each row that the file's share takes; blank lines are skipped.

    Raises:
        WeathermanError: the file cannot be read at all, or has no row.
    """
    found_any = False
    for number, raw in raw_rows(file.path):
        if isinstance(raw, bytes) and not raw.strip():
            continue
        found_any = True
        if file.takes(number):
            yield number, *_decode(raw, f"{file.path.name}:{number}")
    if not found_any:
        hint = "one JSON object with `messages` a line is expected."
        raise WeathermanError("data.empty", f"{file.path} is empty.", hint)


def _decode(raw: bytes | dict[str, Any] | WeathermanError, source: str) -> tuple[Any, WeathermanError | None]:
    if isinstance(raw, WeathermanError):
        return None, raw
    if isinstance(raw, dict):
        return _json_only(raw), None
    if len(raw) > MAX_ROW_BYTES:
        limit = f"more than {MAX_ROW_BYTES // 2**20} MB in one line."
        return None, WeathermanError("data.long-line", f"{source}: {limit}", "one conversation a line is expected.")
    try:
        return strict_json(raw.decode("utf-8").strip()), None
    except UnicodeDecodeError as problem:
        place = f"byte {problem.start + 1} (0x{raw[problem.start]:02x})"
        return None, WeathermanError("data.not-text", f"{source}: {place} is not UTF-8 text.", "save it as UTF-8.")
    except ValueError as problem:
        return None, WeathermanError("data.bad-json", f"{source}: {problem}.")


def _json_only(value: Any) -> Any:
    """A table's value as JSON has it: a NaN is the null of tables, and a date is text."""
    if isinstance(value, dict):
        return {str(key): _json_only(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_json_only(item) for item in value]
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    return value if value is None or isinstance(value, (str, int)) else str(value)


def with_form(file: DataFile, reading: Reading) -> tuple[Form, Reading, Iterator[Decoded]]:
    """The form of a file, how it is to be read, and its rows from the first.

    Raises:
        WeathermanError: the file cannot be read, or is in no form that is known.
    """
    rows = decoded_rows(file)
    form = FORMS.get(reading.form)
    if form is None:
        form, rows = _recognised(file, rows)
    if form.name == _WITHOUT_TOOLS and not reading.tools_text:
        tools = as_text(declare_tools(_openai_rows(file, form)))
        reading = replace(reading, tools_text=tools, tools_kind="tools-from-calls")
    return form, reading, rows


def _recognised(file: DataFile, rows: Iterator[Decoded]) -> tuple[Form, Iterator[Decoded]]:
    looked_at: list[Decoded] = []
    for row in rows:
        looked_at.append(row)
        form = recognise(row[1]) if isinstance(row[1], dict) else None
        if form or len(looked_at) == _ROWS_LOOKED_AT:
            break
    else:
        form = None
    if form:
        return form, chain(looked_at, rows)
    objects = [value for _, value, _ in looked_at if isinstance(value, dict)]
    if objects:
        found, hint = not_recognised(objects)
        raise WeathermanError("data.format", f"{file.path} is in no form that is known: {found}.", hint)
    return FORMS["openai"], chain(looked_at, rows)  # each row will say what is wrong with it


def _openai_rows(file: DataFile, form: Form) -> Iterator[dict[str, Any]]:
    for _, value, _ in decoded_rows(file):
        if isinstance(value, dict):
            try:
                yield form.to_openai(value, Changes())
            except ValueError:
                continue
