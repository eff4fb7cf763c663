"""Text to token ids, without ever reading a control token out of text."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

from weatherman.errors import WeathermanError
from weatherman.system.fingerprint import hash_file

_SENTENCEPIECE_FILES = ("tokenizer.model.v3", "tokenizer.model")


class TextTokenizer(Protocol):
    """What the templates need of a tokenizer."""

    @property
    def hash(self) -> str:
        """Identifies the vocabulary and its rules."""

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


class FastTokenizer:
    """A `tokenizer.json`, read by the tokenizers library.

    Args:
        path: the file.

    Raises:
        WeathermanError: it cannot be read.
    """

    def __init__(self, path: Path) -> None:
        from tokenizers import Tokenizer

        try:
            self._tokenizer = Tokenizer.from_file(str(path))
        except Exception as problem:  # the library raises its bare Exception for every bad file
            raise WeathermanError("tokenizer.unreadable", f"cannot read the tokenizer {path}: {problem}.") from problem
        self._tokenizer.encode_special_tokens = True  # that is: special tokens in a text are encoded like other text
        self._tokenizer.no_truncation()
        self._tokenizer.no_padding()
        # SentencePiece begins every text with a space of its own. Of its two translations, Prepend does so too, but
        # Metaspace leaves out a space that the text has already: such a vocabulary is given one always.
        self._space = " " if self._ids(["a"]) == self._ids([" a"]) else ""
        self._known = self._tokenizer.get_added_tokens_decoder()
        self.hash = hash_file(path)

    def _ids(self, texts: list[str]) -> list[list[int]]:
        return [encoding.ids for encoding in self._tokenizer.encode_batch_fast(texts, add_special_tokens=False)]

    def encode(self, texts: Sequence[str]) -> list[list[int]]:
        """Token ids of plain texts, each on its own; control tokens spelled out in a text stay text."""
        return self._ids([self._space + text if text else "" for text in texts])

    def has(self, name: str) -> bool:
        """Whether the vocabulary has a control token."""
        number = self._tokenizer.token_to_id(name)
        return number in self._known and self._known[number].special

    def special(self, name: str) -> int:
        """The id of a control token.

        Raises:
            WeathermanError: the vocabulary has no such token.
        """
        number = self._tokenizer.token_to_id(name)
        if number is None or not self.has(name):
            raise _no_token(name)
        return int(number)

    def decode(self, ids: Sequence[int]) -> str:
        """Ids back to text, control tokens spelled out."""
        return str(self._tokenizer.decode(list(ids), skip_special_tokens=False))


class SentencePieceTokenizer:
    """A SentencePiece model, such as Mistral's `tokenizer.model.v3`.

    Args:
        path: the file.

    Raises:
        WeathermanError: it cannot be read, or the sentencepiece package is missing.
    """

    def __init__(self, path: Path) -> None:
        try:
            from sentencepiece import SentencePieceProcessor
        except ImportError as problem:
            raise WeathermanError(
                "tokenizer.no-sentencepiece",
                f"reading {path} needs the sentencepiece package.",
                "pip install sentencepiece, or use a model folder with a tokenizer.json.",
            ) from problem
        try:
            self._model = SentencePieceProcessor(model_file=str(path))
        except (OSError, RuntimeError) as problem:
            raise WeathermanError("tokenizer.unreadable", f"cannot read the tokenizer {path}: {problem}.") from problem
        self.hash = hash_file(path)

    def encode(self, texts: Sequence[str]) -> list[list[int]]:
        """Token ids of plain texts, each on its own; control tokens spelled out in a text stay text."""
        encoded: list[list[int]] = self._model.encode(list(texts))
        return encoded

    def has(self, name: str) -> bool:
        """Whether the vocabulary has a control token."""
        return bool(self._model.is_control(self._model.piece_to_id(name)))

    def special(self, name: str) -> int:
        """The id of a control token.

        Raises:
            WeathermanError: the vocabulary has no such token.
        """
        if not self.has(name):
            raise _no_token(name)
        return int(self._model.piece_to_id(name))

    def decode(self, ids: Sequence[int]) -> str:
        """Ids back to text, control tokens spelled out."""
        texts: list[str] = []
        run: list[int] = []
        for number in ids:
            if self._model.is_control(int(number)):
                texts += [self._model.decode(run), self._model.id_to_piece(int(number))]
                run = []
            else:
                run.append(int(number))
        return "".join([*texts, self._model.decode(run)])


def _no_token(name: str) -> WeathermanError:
    return WeathermanError(
        "tokenizer.no-token",
        f"the tokenizer has no control token {name!r}, which the chat template needs.",
        "set chat_template to the one that the model was made for.",
    )


def load_tokenizer(place: Path | str, revision: str | None = None) -> TextTokenizer:
    """Load the tokenizer of a model.

    Args:
        place: a folder with `tokenizer.json` (or a SentencePiece model), else a hub id, whose file is then fetched or
            taken from the hub's cache.
        revision: of the hub's repository.

    Raises:
        WeathermanError: there is none, or it cannot be read.
    """
    folder = Path(place)
    if not folder.is_dir():
        return FastTokenizer(_from_hub(str(place), revision))
    if (folder / "tokenizer.json").is_file():
        return FastTokenizer(folder / "tokenizer.json")
    for name in _SENTENCEPIECE_FILES:
        if (folder / name).is_file():
            return SentencePieceTokenizer(folder / name)
    raise WeathermanError("tokenizer.missing", f"{folder} holds no tokenizer.json.", "name a complete model folder.")


def _from_hub(name: str, revision: str | None) -> Path:
    from huggingface_hub import hf_hub_download

    try:
        return Path(hf_hub_download(name, "tokenizer.json", revision=revision))
    except (OSError, ValueError) as problem:  # the hub's own errors derive from these two
        reason = str(problem).strip().splitlines()[0]
        raise WeathermanError(
            "tokenizer.missing",
            f"no folder {name!r}, and no tokenizer of that name on the hub: {reason}",
            "check the name; a gated model needs an accepted licence and HF_TOKEN.",
        ) from problem
