"""A tokenizer for plans only: splits text about as finely as a real one, where the real one is not at hand."""

from __future__ import annotations

import re
from collections.abc import Sequence

from weatherman.rendering.text_tokenizer import AddedToken
from weatherman.system.fingerprint import hash_text

# Words in pieces of up to seven letters, digits one by one, everything else on its own: 32,768-token vocabularies split
# English and JSON about so.
_PIECE = re.compile(r" ?[^\W\d_]{1,7}|\d| ?[^\w\s]+|_|\s+")
_CONTROL = (
    "<s>", "</s>", "[INST]", "[/INST]", "[AVAILABLE_TOOLS]", "[/AVAILABLE_TOOLS]", "[TOOL_CALLS]", "[TOOL_RESULTS]",
    "[/TOOL_RESULTS]", "<|im_start|>", "<|im_end|>",
)  # fmt: skip


class RoughTokenizer:
    """Counts and compares like a tokenizer, and decodes what it has encoded; its ids mean nothing to any model."""

    hash = hash_text("rough", _PIECE.pattern, *_CONTROL)
    num_tokens = 0

    def __init__(self) -> None:
        self._texts = list(_CONTROL)
        self._ids = {text: number for number, text in enumerate(_CONTROL)}
        self.added = {text: AddedToken(number, special=True) for text, number in self._ids.items()}

    def encode(self, texts: Sequence[str]) -> list[list[int]]:
        """Ids of plain texts: the same for the same pieces."""
        return [[self._id(piece) for piece in _PIECE.findall(text)] for text in texts]

    def encode_inner(self, texts: Sequence[str], *, plain: bool) -> list[list[int]]:
        """The same as on their own."""
        return self.encode(texts)

    def _id(self, piece: str) -> int:
        found = self._ids.get(piece)
        if found is None:
            found = self._ids[piece] = len(self._texts)
            self._texts.append(piece)
        return found

    def normalized(self, text: str) -> str:
        """The text itself."""
        return text

    def has(self, name: str) -> bool:
        """Every control token is there."""
        return True

    def special(self, name: str) -> int:
        """An id for a control token."""
        return self._id(name)

    def decode(self, ids: Sequence[int]) -> str:
        """The text of ids that were given out here."""
        return "".join(self._texts[number] for number in ids)
