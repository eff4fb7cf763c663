"""A data file -> its examples: conversations that are too long are left out whole and named, none is ever cut."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Literal

from weatherman.data.read import missing_file, read_conversations
from weatherman.errors import WeathermanError
from weatherman.records import Conversation, Rendered
from weatherman.rendering.render import render_all
from weatherman.rendering.render_cache import Dropped, RenderedFile, read_cache, write_cache
from weatherman.rendering.template import Template
from weatherman.rendering.tokenizer import TextTokenizer
from weatherman.system.fingerprint import hash_file, hash_text

_MAX_NAMED = 5


def render_file(
    path: Path,
    template: Template,
    tokenizer: TextTokenizer,
    *,
    max_seq_length: int,
    too_long: Literal["drop", "error"] = "drop",
    personas: Collection[str] = (),
    cache_folder: Path | None = None,
) -> RenderedFile:
    """Validate and render a file, or take it from the cache if data, template, tokenizer and choice are the same.

    Args:
        path: the JSONL file.
        template: the chat template.
        tokenizer: its tokenizer.
        max_seq_length: in tokens; a conversation with a longer example is too long.
        too_long: whether such conversations are left out or refused.
        personas: whose conversations are taken; empty takes all.
        cache_folder: where rendered files are kept; None keeps nothing.

    Returns:
        The examples and what was left out.

    Raises:
        WeathermanError: the file or a row is not valid, a conversation is refused, or none is left.
    """
    rendered = _cached(path, template, tokenizer, max_seq_length, personas, cache_folder)
    if rendered.dropped and too_long == "error":
        raise WeathermanError("data.too-long", describe_dropped(rendered, max_seq_length), "raise max_seq_length.")
    if not rendered.examples:
        raise WeathermanError("data.all-too-long", describe_dropped(rendered, max_seq_length), "raise max_seq_length.")
    return rendered


def describe_dropped(rendered: RenderedFile, max_seq_length: int) -> str:
    """Say how many conversations are too long, and which: the first few, with their lengths."""
    named = [f"{dropped.source} ({dropped.num_tokens:,})" for dropped in rendered.dropped[:_MAX_NAMED]]
    more = ", …" if len(rendered.dropped) > _MAX_NAMED else ""
    return (
        f"{len(rendered.dropped):,} of {rendered.num_conversations:,} conversations are longer than "
        f"max_seq_length={max_seq_length} tokens: {', '.join(named)}{more}."
    )


def require_file(path: Path) -> None:
    """Refuse a data file that is not there, before anything is made for a run.

    Raises:
        WeathermanError: it is missing.
    """
    if not path.exists():
        raise missing_file(path)


def conversations_of(path: Path, personas: Collection[str]) -> Iterator[Conversation]:
    """The conversations of a file whose persona is one of these; all if none is named.

    Raises:
        WeathermanError: the file or a row is not valid, or a persona has no conversation in it.
    """
    found: Counter[str] = Counter()
    for conversation in read_conversations(path):
        persona = str(conversation.metadata.get("persona", ""))
        found[persona] += 1
        if not personas or persona in personas:
            yield conversation
    if missing := sorted(set(personas) - found.keys()):
        known = [f"{name} ({count:,})" for name, count in found.most_common(_MAX_NAMED + 1) if name]
        has = ", ".join(known[:_MAX_NAMED]) or "no persona"
        more = ", …" if len(known) > _MAX_NAMED else ""
        text = f"{path} has no conversation of the persona {', '.join(missing)}; it has {has}{more}."
        raise WeathermanError("data.persona", text, "change personas, or leave it empty to take all.")


def _cached(
    path: Path,
    template: Template,
    tokenizer: TextTokenizer,
    max_seq_length: int,
    personas: Collection[str],
    cache_folder: Path | None,
) -> RenderedFile:
    if cache_folder is None or not path.is_file():
        return _rendered(path, template, tokenizer, max_seq_length, personas)
    # The file's name is part of the key, since the examples' sources name it.
    choice = (str(max_seq_length), *sorted(set(personas)))
    key = hash_text(path.name, hash_file(path), template.hash, template.control_tokens, tokenizer.hash, *choice)
    known = read_cache(cache_folder, key)
    if known is not None:
        return known
    rendered = _rendered(path, template, tokenizer, max_seq_length, personas)
    write_cache(cache_folder, key, rendered)
    return rendered


def _rendered(
    path: Path, template: Template, tokenizer: TextTokenizer, max_seq_length: int, personas: Collection[str]
) -> RenderedFile:
    examples: list[Rendered] = []
    dropped: list[Dropped] = []
    num_conversations = 0
    for views in render_all(conversations_of(path, personas), template, tokenizer):
        num_conversations += 1
        longest = max((len(view.ids) for view in views), default=0)
        if longest > max_seq_length:
            dropped.append(Dropped(views[0].source, longest))
        else:
            examples += views
    return RenderedFile(tuple(examples), tuple(dropped), num_conversations, hash_file(path))
