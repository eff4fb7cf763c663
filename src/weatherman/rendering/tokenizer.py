"""Tokenizers read from files: a `tokenizer.json`, or a SentencePiece model."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from weatherman.errors import WeathermanError
from weatherman.rendering.text_tokenizer import AddedToken, TextTokenizer
from weatherman.system.fingerprint import hash_file

__all__ = ["FastTokenizer", "SentencePieceTokenizer", "TextTokenizer", "load_tokenizer"]

_PROBES = ("a b", " a", "  1", "\na")
_SENTENCEPIECE_FILES = ("tokenizer.model.v3", "tokenizer.model")


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
        self._reading = Tokenizer.from_file(str(path))  # takes control tokens in a text for what they are
        for one in (self._tokenizer, self._reading):
            one.no_truncation()
            one.no_padding()
        # SentencePiece begins every text with a space of its own. Of its two translations, Prepend does so too, but
        # Metaspace leaves out a space that the text has already: such a vocabulary is given one always.
        self._space = " " if self._ids(["a"]) == self._ids([" a"]) else ""
        self._known = self._tokenizer.get_added_tokens_decoder()
        self.added = {
            token.content: AddedToken(number, token.special, token.lstrip, token.rstrip)
            for number, token in self._known.items()
        }
        self.num_tokens = self._tokenizer.get_vocab_size()
        self._before = self._found_before()
        self.hash = hash_file(path)

    def _found_before(self) -> str:
        """What inner texts are encoded behind: nothing if that gives what they have behind a control token."""
        mark = next((text for text, token in self.added.items() if token.special and text.strip()), None)
        if mark is None:
            return ""
        for before in ("", "\n"):
            self._before = before
            if all(self.whole([mark + text])[0][1:] == self.encode_inner([text], plain=False)[0] for text in _PROBES):
                return before
        return ""

    def whole(self, texts: Sequence[str]) -> list[list[int]]:
        """Token ids of whole prompts as servers encode them: control tokens are read out of the text."""
        return [one.ids for one in self._reading.encode_batch_fast(list(texts), add_special_tokens=False)]

    def encode_inner(self, texts: Sequence[str], *, plain: bool) -> list[list[int]]:
        """Token ids of texts that stand behind other text."""
        before = self._before
        if plain:
            return [self._without_added_tokens(before + text)[self._skipped() :] for text in texts]
        skipped = self._skipped()
        return [ids[skipped:] for ids in self.whole([before + text for text in texts])]

    def _skipped(self) -> int:
        return len(self.whole([self._before])[0]) if self._before else 0

    def _without_added_tokens(self, text: str) -> list[int]:
        text = self._normalize(text)
        splitter: Any = self._tokenizer.pre_tokenizer
        parts = [part for part, _ in splitter.pre_tokenize_str(text)] if splitter else [text]
        model: Any = self._tokenizer.model
        return [token.id for part in parts for token in model.tokenize(part)]

    def _normalize(self, text: str) -> str:
        normalizer: Any = self._tokenizer.normalizer
        return str(normalizer.normalize_str(text)) if normalizer else text

    def normalized(self, text: str) -> str:
        """What the vocabulary makes of a text before it is split."""
        return self._normalize(text).replace("▁", " ")

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
        self.num_tokens = int(self._model.get_piece_size())
        self.added = {
            self._model.id_to_piece(number): AddedToken(number, special=True)
            for number in range(self.num_tokens)
            if self._model.is_control(number)
        }
        self._num_of_line_break = len(self._model.encode("\n"))

    def encode_inner(self, texts: Sequence[str], *, plain: bool) -> list[list[int]]:
        """Token ids of texts that stand behind other text; SentencePiece reads no control token in either case."""
        # SentencePiece puts a space before every text, which stands for the text's own if it begins with one.
        own = self._model.encode([text[1:] if text.startswith(" ") else "\n" + text for text in texts])
        return [
            ids if text.startswith(" ") else ids[self._num_of_line_break :]
            for text, ids in zip(texts, own, strict=True)
        ]

    def normalized(self, text: str) -> str:
        """What the vocabulary makes of a text before it is split."""
        return str(self._model.normalize(text)).replace("▁", " ")

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
