"""Text to token ids, without ever reading a control token out of text."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

from weatherman.data.fingerprint import hash_file
from weatherman.errors import WeathermanError


class TextTokenizer(Protocol):
    """What the templates need of a tokenizer."""

    @property
    def hash(self) -> str:
        """Identifies the vocabulary and its rules."""

    def encode(self, texts: Sequence[str]) -> list[list[int]]:
        """Token ids of plain texts; control tokens spelled out in a text stay text."""

    def special(self, name: str) -> int:
        """The id of a control token.

        Raises:
            WeathermanError: the vocabulary has no such token.
        """

    def decode(self, ids: Sequence[int]) -> str:
        """Ids back to text, control tokens spelled out."""


class FastTokenizer:
    """A `tokenizer.json`, read by the tokenizers library.

    Args:
        path: the file.
    """

    def __init__(self, path: Path) -> None:
        from tokenizers import Tokenizer

        try:
            self._tokenizer = Tokenizer.from_file(str(path))
        except Exception as problem:  # the library raises its bare Exception for every bad file
            raise WeathermanError("tokenizer.unreadable", f"cannot read the tokenizer {path}: {problem}.") from problem
        self._tokenizer.encode_special_tokens = True
        self._tokenizer.no_truncation()
        self._tokenizer.no_padding()
        self.hash = hash_file(path)

    def encode(self, texts: Sequence[str]) -> list[list[int]]:
        """Token ids of plain texts; control tokens spelled out in a text stay text."""
        return [encoding.ids for encoding in self._tokenizer.encode_batch(list(texts), add_special_tokens=False)]

    def special(self, name: str) -> int:
        """The id of a control token.

        Raises:
            WeathermanError: the vocabulary has no such token.
        """
        number = self._tokenizer.token_to_id(name)
        if number is None:
            raise WeathermanError(
                "tokenizer.no-token",
                f"the tokenizer has no control token {name!r}, which the chat template needs.",
                "set chat_template to the one that the model was made for.",
            )
        return int(number)

    def decode(self, ids: Sequence[int]) -> str:
        """Ids back to text, control tokens spelled out."""
        return str(self._tokenizer.decode(list(ids), skip_special_tokens=False))


def load_tokenizer(folder: Path) -> TextTokenizer:
    """The tokenizer of a model folder.

    Raises:
        WeathermanError: the folder holds no `tokenizer.json`, or it cannot be read.
    """
    path = folder / "tokenizer.json"
    if not path.is_file():
        raise WeathermanError("tokenizer.missing", f"{folder} holds no tokenizer.json.", "name a complete model folder.")
    return FastTokenizer(path)
