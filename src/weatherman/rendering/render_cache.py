"""Rendered examples on disk: one file per (data, template, tokenizer, length), verified by hash when it is read.

Layout: a magic line; the SHA-256, in hex, of what follows its line; a header, one line of JSON; the token ids of all
examples, int32 little-endian; their masks, packed 8 to a byte. A file that is not exactly that is as good as none.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from weatherman import messages
from weatherman.records import Rendered
from weatherman.system.atomic import write_atomic

_MAGIC = b"weatherman-rendered 2"
_IDS = np.dtype("<i4")
_SUFFIX = ".rendered"
_KEPT_FILES = 8


@dataclass(frozen=True, slots=True)
class Dropped:
    """A conversation that is left out because its longest example has `num_tokens` tokens."""

    source: str
    num_tokens: int


@dataclass(frozen=True, slots=True)
class RenderedFile:
    """The examples of a data file, in its order, and the conversations that are too long to be among them.

    `changes` counts what was changed to read them, by kind (`data.changes`).
    """

    examples: tuple[Rendered, ...]
    dropped: tuple[Dropped, ...]
    num_conversations: int
    data_hash: str
    changes: dict[str, int] = field(default_factory=dict)


def read_cache(folder: Path, key: str) -> RenderedFile | None:
    """Read what was stored under `key`; None if there is nothing, or (with a warning) if it is damaged."""
    path = folder / f"{key}{_SUFFIX}"
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        return None
    except OSError as problem:
        messages.warning(f"the cache {path} cannot be read ({problem.strerror}); the data is rendered again.")
        return None
    try:
        rendered = _unpack(data, key)
    except (ValueError, KeyError, TypeError):
        messages.warning(f"the cache {path} is damaged; the data is rendered again.")
        return None
    with contextlib.suppress(OSError):
        os.utime(path)  # the newest used are kept
    return rendered


def write_cache(folder: Path, key: str, rendered: RenderedFile) -> None:
    """Store under `key`; a folder that cannot be written costs a warning, never the run."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        write_atomic(folder / f"{key}{_SUFFIX}", _pack(rendered, key), durable=False)
        files = sorted(folder.glob(f"*{_SUFFIX}"), key=lambda path: path.stat().st_mtime)
        for path in files[:-_KEPT_FILES]:
            path.unlink(missing_ok=True)
    except OSError as problem:
        messages.warning(f"the rendered data is not kept in {folder}: {problem.strerror}.")


def _pack(rendered: RenderedFile, key: str) -> bytes:
    examples = rendered.examples
    header = {
        "key": key,
        "data_hash": rendered.data_hash,
        "num_conversations": rendered.num_conversations,
        "changes": rendered.changes,
        "lengths": [len(example.ids) for example in examples],
        "sources": [example.source for example in examples],
        "dropped": [[dropped.source, dropped.num_tokens] for dropped in rendered.dropped],
    }
    ids = _joined([example.ids for example in examples], _IDS)
    mask = np.packbits(_joined([example.mask for example in examples], np.dtype(np.bool_)))
    body = b"\n".join([json.dumps(header).encode("ascii"), ids.tobytes() + mask.tobytes()])
    return b"\n".join([_MAGIC, hashlib.sha256(body).hexdigest().encode("ascii"), body])


def _joined(arrays: Sequence[np.ndarray], dtype: np.dtype) -> np.ndarray:
    return np.concatenate([np.empty(0, dtype), *arrays]).astype(dtype, copy=False)


def _unpack(data: bytes, key: str) -> RenderedFile:
    magic, digest, body = data.split(b"\n", 2)
    if magic != _MAGIC or digest != hashlib.sha256(body).hexdigest().encode("ascii"):
        raise ValueError("another content than was written")
    line, payload = body.split(b"\n", 1)
    header = json.loads(line)
    if header["key"] != key:
        raise ValueError("another key")
    ends = np.cumsum(header["lengths"], dtype=np.int64)
    num_tokens = int(ends[-1]) if len(ends) else 0
    ids = np.frombuffer(payload, _IDS, num_tokens).astype(np.int32, copy=False)
    packed = np.frombuffer(payload, np.uint8, offset=num_tokens * _IDS.itemsize)
    mask = np.unpackbits(packed, count=num_tokens).astype(np.bool_)
    examples = tuple(
        Rendered(ids[end - length : end], mask[end - length : end], source)
        for end, length, source in zip(ends.tolist(), header["lengths"], header["sources"], strict=True)
    )
    dropped = tuple(Dropped(source, num_tokens) for source, num_tokens in header["dropped"])
    return RenderedFile(examples, dropped, header["num_conversations"], header["data_hash"], header["changes"])
