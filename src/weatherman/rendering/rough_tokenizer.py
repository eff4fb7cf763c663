"""A tokenizer for plans only: splits text about as finely as a real one, where the real one is not at hand."""

from __future__ import annotations

import re
import zlib
from collections.abc import Sequence

from weatherman.system.fingerprint import hash_text

# Words in pieces of up to seven letters, digits one by one, everything else on its own: 32,768-token vocabularies split
# English and JSON about so.
_PIECE = re.compile(r" ?[^\W\d_]{1,7}|\d| ?[^\w\s]+|_|\s+")


class RoughTokenizer:
    """Counts and compares like a tokenizer; its ids mean nothing and decode to nothing."""

    hash = hash_text("rough", _PIECE.pattern)

    def encode(self, texts: Sequence[str]) -> list[list[int]]:
        """Ids of plain texts: the same for the same pieces."""
        return [[zlib.crc32(piece.encode()) & 0x7FFFFFFF for piece in _PIECE.findall(text)] for text in texts]

    def has(self, name: str) -> bool:
        """Every control token is there."""
        return True

    def special(self, name: str) -> int:
        """An id for a control token."""
        return zlib.crc32(b"\0" + name.encode()) & 0x7FFFFFFF

    def decode(self, ids: Sequence[int]) -> str:
        """Nothing: a plan reads no text back."""
        return ""
