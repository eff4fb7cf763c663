"""Hashes that tell whether data is still what a run was started with."""

from __future__ import annotations

import hashlib
from pathlib import Path

_BLOCK_BYTES = 2**20


def hash_file(path: Path) -> str:
    """SHA-256 of a file's bytes, in hex."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(_BLOCK_BYTES):
            digest.update(block)
    return digest.hexdigest()


def hash_text(*parts: str) -> str:
    """SHA-256 of texts, in hex; ("ab", "c") and ("a", "bc") differ."""
    digest = hashlib.sha256()
    for part in parts:
        data = part.encode()
        digest.update(len(data).to_bytes(8, "big") + data)
    return digest.hexdigest()
