"""What rendering needs of a tokenizer: text to token ids, without ever reading a control token out of data."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True, slots=True)
class AddedToken:
    """A token that is found in a text before anything else is done with it.

    Attributes:
        id: its number.
        special: whether it is a control token by its vocabulary's own word.
        eats_left: white space before it belongs to it.
        eats_right: white space behind it belongs to it.
    """

    id: int
    special: bool
    eats_left: bool = False
    eats_right: bool = False


class TextTokenizer(Protocol):
    """What the templates need of a tokenizer."""

    @property
    def hash(self) -> str:
        """Identifies the vocabulary and its rules."""

    def __hash__(self) -> int:
        """Tokenizers are told apart by identity: what is prepared for one is kept with it."""

    @property
    def added(self) -> Mapping[str, AddedToken]:
        """The added tokens by their text."""

    @property
    def num_tokens(self) -> int:
        """The size of the vocabulary, added tokens included."""

    def encode_inner(self, texts: Sequence[str], *, plain: bool) -> list[list[int]]:
        """Token ids of texts that stand behind other text, so that no space is put before them.

        Args:
            texts: without control tokens, unless `plain`.
            plain: take every added token in them for text.
        """

    def normalized(self, text: str) -> str:
        """What the vocabulary makes of a text before it is split, if that changes more than spaces."""

    def encode(self, texts: Sequence[str]) -> list[list[int]]:
        """Token ids of plain texts, each on its own; control tokens spelled out in a text stay text."""

    def has(self, name: str) -> bool:
        """Whether the vocabulary has a control token."""

    def special(self, name: str) -> int:
        """The id of a control token.

        Raises:
            WeathermanError: the vocabulary has no such token.
        """

    def decode(self, ids: Sequence[int]) -> str:
        """Ids back to text, control tokens spelled out."""
