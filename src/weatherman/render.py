"""Conversation -> token ids and loss mask, and generated ids back to a message."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np

from weatherman.records import Conversation, Message, Rendered
from weatherman.template import Piece, Template
from weatherman.tokenizer import TextTokenizer

_TEXTS_PER_BATCH = 4096


def render(conversation: Conversation, template: Template, tokenizer: TextTokenizer) -> list[Rendered]:
    """Render one conversation: one example per context in which the template lets the assistant speak.

    Every assistant token is supervised in exactly one of them; system, user and tool tokens never are.

    Raises:
        WeathermanError: the template cannot hold the conversation.
    """
    return next(iter(render_all([conversation], template, tokenizer)))


def render_all(
    conversations: Iterable[Conversation], template: Template, tokenizer: TextTokenizer
) -> Iterable[list[Rendered]]:
    """Render many conversations, each text tokenised once and in batches.

    Yields:
        The examples of each conversation, in order.
    """
    cache: dict[str, list[int]] = {}
    batch: list[tuple[Conversation, list[list[Piece]]]] = []
    wanted: dict[str, None] = {}
    for conversation in conversations:
        views = template.views(conversation)
        batch.append((conversation, views))
        wanted.update((p.text, None) for view in views for p in view if not p.special and p.text not in cache)
        if len(wanted) >= _TEXTS_PER_BATCH:
            yield from _render_batch(batch, wanted, cache, tokenizer)
    yield from _render_batch(batch, wanted, cache, tokenizer)


def _render_batch(
    batch: list[tuple[Conversation, list[list[Piece]]]],
    wanted: dict[str, None],
    cache: dict[str, list[int]],
    tokenizer: TextTokenizer,
) -> Iterable[list[Rendered]]:
    """Tokenise what is new, assemble the batch, and empty both lists; texts that several rows share stay cached."""
    cache.update(zip(wanted, tokenizer.encode(list(wanted)), strict=True))
    for conversation, views in batch:
        yield [_assemble(view, cache, tokenizer, conversation.source) for view in views]
    for text in [text for text in cache if text in wanted and len(text) < 400]:
        del cache[text]
    batch.clear()
    wanted.clear()


def _assemble(view: list[Piece], cache: dict[str, list[int]], tokenizer: TextTokenizer, source: str) -> Rendered:
    ids: list[int] = []
    mask: list[bool] = []
    for piece in view:
        new = [tokenizer.special(piece.text)] if piece.special else cache[piece.text]
        ids += new
        mask += [piece.supervised] * len(new)
    return Rendered(np.array(ids, np.int32), np.array(mask, np.bool_), source)


def prompt_ids(conversation: Conversation, template: Template, tokenizer: TextTokenizer) -> list[int]:
    """Token ids of a conversation so far, ending where the assistant's next turn begins."""
    pieces = template.prompt(conversation)
    texts = iter(tokenizer.encode([piece.text for piece in pieces if not piece.special]))
    return [t for piece in pieces for t in ([tokenizer.special(piece.text)] if piece.special else next(texts))]


def parse_reply(ids: Sequence[int], template: Template, tokenizer: TextTokenizer) -> Message:
    """Read a generated turn (without its stop token): text, or tool calls if it is made of well-formed ones."""
    return template.parse(tokenizer.decode(ids))
