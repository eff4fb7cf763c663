"""Conversation -> token ids and loss mask, and generated ids back to a message."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import islice

import numpy as np

from weatherman.records import Conversation, Message, Rendered
from weatherman.rendering.template import Piece, Template
from weatherman.rendering.tokenizer import TextTokenizer

_CONVERSATIONS_PER_BATCH = 512
_MAX_REMEMBERED_TEXTS = 20_000


def render(conversation: Conversation, template: Template, tokenizer: TextTokenizer) -> list[Rendered]:
    """Render one conversation: one example per context in which the template lets the assistant speak.

    Every assistant token is supervised in exactly one of them; system, user and tool tokens never are.

    Raises:
        WeathermanError: the template cannot hold the conversation.
    """
    return next(render_all([conversation], template, tokenizer))


def render_all(
    conversations: Iterable[Conversation], template: Template, tokenizer: TextTokenizer
) -> Iterator[list[Rendered]]:
    """Render many conversations; texts are tokenised in batches, and those that rows share only once.

    Yields:
        The examples of each conversation, in order.

    Raises:
        WeathermanError: the template cannot hold a conversation.
    """
    encoder = _Encoder(tokenizer)
    rest = iter(conversations)
    while batch := list(islice(rest, _CONVERSATIONS_PER_BATCH)):
        views = [template.views(conversation) for conversation in batch]
        encoder.learn(piece for of_one in views for view in of_one for piece in view)
        for conversation, of_one in zip(batch, views, strict=True):
            yield [_assemble(view, encoder, conversation.source) for view in of_one]


class _Encoder:
    """Remembers the ids of texts and control tokens that were seen lately."""

    def __init__(self, tokenizer: TextTokenizer) -> None:
        self._tokenizer = tokenizer
        self._texts: dict[str, list[int]] = {}
        self._specials: dict[str, list[int]] = {}

    def learn(self, pieces: Iterable[Piece]) -> None:
        """Tokenise the texts of a batch that are not known yet."""
        if len(self._texts) > _MAX_REMEMBERED_TEXTS:
            self._texts.clear()
        new: dict[str, None] = {}
        for piece in pieces:
            if piece.special:
                if piece.text not in self._specials:
                    self._specials[piece.text] = [self._tokenizer.special(piece.text)]
            elif piece.text not in self._texts:
                new[piece.text] = None
        self._texts.update(zip(new, self._tokenizer.encode(list(new)), strict=True))

    def ids(self, piece: Piece) -> list[int]:
        """The ids of a piece that was learnt."""
        return self._specials[piece.text] if piece.special else self._texts[piece.text]


def _assemble(view: list[Piece], encoder: _Encoder, source: str) -> Rendered:
    ids: list[int] = []
    mask = bytearray()
    for piece in view:
        new = encoder.ids(piece)
        ids += new
        mask += (b"\1" if piece.supervised else b"\0") * len(new)
    return Rendered(np.array(ids, np.int32), np.frombuffer(bytes(mask), np.bool_), source)


def prompt_ids(conversation: Conversation, template: Template, tokenizer: TextTokenizer) -> list[int]:
    """Token ids of a conversation so far, ending where the assistant's next turn begins.

    Raises:
        WeathermanError: the template cannot hold the conversation.
    """
    pieces = template.prompt(conversation)
    encoder = _Encoder(tokenizer)
    encoder.learn(pieces)
    return [number for piece in pieces for number in encoder.ids(piece)]


def parse_reply(ids: Sequence[int], template: Template, tokenizer: TextTokenizer) -> Message:
    """Read a generated turn: text, or tool calls if it is made of well-formed ones.

    Args:
        ids: what the model generated, with or without the stop token; what follows that is ignored.
        template: the template that the prompt was made with.
        tokenizer: its tokenizer.
    """
    ids = [int(number) for number in ids]
    stop = tokenizer.special(template.stop_token)
    if stop in ids:
        ids = ids[: ids.index(stop)]
    text = tokenizer.decode(ids)
    if template.call_token is not None and ids[:1] != [tokenizer.special(template.call_token)]:
        return Message("assistant", text.strip())  # the call token merely spelled out is text
    return template.parse(text)
