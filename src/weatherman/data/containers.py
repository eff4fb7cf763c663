"""What a file holds, row by row in bounded memory: JSON lines, a JSON list, Parquet or Arrow, packed or not."""

from __future__ import annotations

import codecs
import gzip
import importlib
import io
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO, cast

from weatherman.data.json_array import ArrayEndError, array_elements
from weatherman.errors import WeathermanError

MAX_ROW_BYTES = 16 * 2**20
_BLOCK_BYTES = 2**20
_PROBE_BYTES = 4096
_ROWS_PER_BATCH = 64
_COLUMNAR = (".parquet", ".arrow", ".feather")

Raw = tuple[int, "bytes | dict[str, Any] | WeathermanError"]


def raw_rows(path: Path) -> Iterator[Raw]:
    """Yield number (from 1: the line, or the row) and content of each row: bytes of JSON, or a decoded row of a table.

    Of a row over `MAX_ROW_BYTES` only the first bytes are given, and the length tells. A file that breaks off gives a
    problem as its last row.

    Raises:
        WeathermanError: the file is missing, a folder, unreadable, binary, or needs a library that is not installed.
    """
    try:
        if path.is_dir():
            raise WeathermanError("data.is-folder", f"{path} is a folder.", "name a .jsonl file.")
        if path.exists() and not path.is_file():
            raise WeathermanError("data.unreadable", f"{path} is not a regular file.", "name a .jsonl file.")
        if path.suffix.lower() in _COLUMNAR:
            yield from _table_rows(path)
            return
        with _opened(path) as file:
            start = _probe(path, file)
            if start.removeprefix(codecs.BOM_UTF8).lstrip()[:1] == b"[":
                yield from _list_rows(path, file)
            else:
                yield from _lines(file)
    except FileNotFoundError as problem:
        raise missing_file(path) from problem
    except (EOFError, zlib.error) as problem:  # a packed file that is cut short or damaged
        raise WeathermanError("data.unreadable", f"{path} is damaged: it cannot be unpacked.") from problem
    except (OSError, ValueError) as problem:  # ValueError: a path with a NUL byte
        reason = getattr(problem, "strerror", None) or problem
        raise WeathermanError("data.unreadable", f"{path}: {reason}.") from problem


def missing_file(path: Path) -> WeathermanError:
    """Make the error for a data file that is not there."""
    hint = "check its name, and the folder that it is relative to."
    if "processed" in path.parts:
        hint = "data/processed/ is made by the set-up (make setup); see data/README.md."
    return WeathermanError("data.missing", f"there is no data file {path}.", hint)


@contextmanager
def _opened(path: Path) -> Iterator[BinaryIO]:
    """The file's bytes, unpacked."""
    with path.open("rb", buffering=_BLOCK_BYTES) as file:
        if path.suffix.lower() == ".gz":
            with gzip.open(file) as unpacked:
                yield io.BufferedReader(cast("io.RawIOBase", unpacked), _BLOCK_BYTES)
        elif path.suffix.lower() == ".zst":
            library = _library("zstandard", "zstandard", path)
            try:
                with library.ZstdDecompressor().stream_reader(file, read_across_frames=True) as stream:
                    yield io.BufferedReader(stream, _BLOCK_BYTES)
            except library.ZstdError as problem:
                raise WeathermanError("data.unreadable", f"{path} is damaged: it cannot be unpacked.") from problem
        else:
            yield file


def _library(module: str, package: str, path: Path) -> Any:
    try:
        return importlib.import_module(module)
    except ImportError as problem:
        text = f"reading {path.name} needs the package {package}, which is not installed."
        raise WeathermanError("data.no-library", text, f"pip install {package}") from problem


def _probe(path: Path, file: BinaryIO) -> bytes:
    """The file's first bytes, still to be read; what is no text is refused."""
    start = cast("io.BufferedReader", file).peek(_PROBE_BYTES)[:_PROBE_BYTES]
    if start.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        raise WeathermanError("data.binary", f"{path} is UTF-16 text.", "save it as UTF-8.")
    if b"\0" in start:
        place = start.index(b"\0") + 1
        raise WeathermanError("data.binary", f"{path} is not a text file (byte {place} is NUL).", "name a .jsonl file.")
    return start


def _lines(file: BinaryIO) -> Iterator[Raw]:
    number = 0
    while line := file.readline(MAX_ROW_BYTES + 1):
        number += 1
        yield number, line.removeprefix(codecs.BOM_UTF8) if number == 1 else line
        while len(line) > MAX_ROW_BYTES and not line.endswith(b"\n"):
            line = file.readline(MAX_ROW_BYTES + 1)


def _list_rows(path: Path, file: BinaryIO) -> Iterator[Raw]:
    number = 0
    try:
        for number, element in enumerate(array_elements(file, MAX_ROW_BYTES), start=1):
            yield number, element
    except ArrayEndError as problem:
        text = f"{path.name}:{number + 1}: {problem}; what follows row {number} was not read."
        yield number + 1, WeathermanError("data.bad-json", text)


def _table_rows(path: Path) -> Iterator[Raw]:
    """Rows of a Parquet or Arrow file, a few at a time."""
    library = _library("pyarrow", "pyarrow", path)
    number = 0
    try:
        for batch in _batches(path):
            for row in batch.to_pylist():
                number += 1
                yield number, row
    except (library.ArrowException, UnicodeDecodeError) as problem:
        text = f"{path} cannot be read after row {number}: {str(problem).splitlines()[0][:120]}."
        raise WeathermanError("data.unreadable", text, "is it whole, and what its name says?") from problem


def _batches(path: Path) -> Iterator[Any]:
    if path.suffix.lower() == ".parquet":
        table = importlib.import_module("pyarrow.parquet").ParquetFile(path)
        yield from table.iter_batches(batch_size=_ROWS_PER_BATCH)
        return
    library = importlib.import_module("pyarrow")
    with library.memory_map(str(path)) as source:
        try:
            reader = library.ipc.open_file(source)
            batches: Iterator[Any] = (reader.get_batch(index) for index in range(reader.num_record_batches))
        except library.ArrowInvalid:  # the stream form, as datasets keeps its own files
            source.seek(0)
            batches = iter(library.ipc.open_stream(source))
        for batch in batches:
            for begin in range(0, batch.num_rows, _ROWS_PER_BATCH):
                yield batch.slice(begin, _ROWS_PER_BATCH)
