"""A data file -> its examples: conversations that are too long are left out whole and named, none is ever cut."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Collection, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

from weatherman.data.changes import Changes
from weatherman.data.containers import missing_file
from weatherman.data.places import data_files
from weatherman.data.read import read_conversations
from weatherman.data.reading import PLAIN, Reading
from weatherman.errors import WeathermanError
from weatherman.records import Conversation, Rendered
from weatherman.rendering.fitted import TextBesideCalls, fitted
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
    reading: Reading = PLAIN,
    text_beside_calls: TextBesideCalls = "refuse",
    cache_folder: Path | None = None,
) -> RenderedFile:
    """Validate and render a file, or take it from the cache if data, template, tokenizer and choice are the same.

    Args:
        path: the file, or a place that means several (`data.places`).
        template: the chat template.
        tokenizer: its tokenizer.
        max_seq_length: in tokens; a conversation with a longer example is too long.
        too_long: whether such conversations are left out or refused.
        personas: whose conversations are taken; empty takes all.
        reading: how the file is to be read.
        text_beside_calls: what becomes of a text beside calls where the template cannot hold it.
        cache_folder: where rendered files are kept; None keeps nothing.

    Returns:
        The examples and what was left out.

    Raises:
        WeathermanError: the file or a row is not valid, a conversation is refused, or none is left.
    """
    choice = _Choice(max_seq_length, tuple(sorted(set(personas))), reading, text_beside_calls)
    rendered = _cached(path, template, tokenizer, choice, cache_folder)
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


def require_file(place: Path) -> None:
    """Refuse a data file that is not there, before anything is made for a run.

    Raises:
        WeathermanError: it is missing, or a pattern matches nothing.
    """
    for file in data_files(place):
        if not file.path.exists():
            raise missing_file(file.path)


@dataclass(frozen=True, slots=True)
class _Choice:
    """What decides, besides the file, which examples come of it."""

    max_seq_length: int
    personas: tuple[str, ...]
    reading: Reading
    text_beside_calls: TextBesideCalls

    @property
    def key(self) -> str:
        return json.dumps(asdict(self))


def hash_data(place: Path) -> str:
    """SHA-256 of the data of a place: of one file its own; of several, of theirs and their shares.

    Raises:
        WeathermanError: a file is not there or cannot be read.
    """
    files = data_files(place)
    try:
        if len(files) == 1 and files[0].share == 1:
            return hash_file(files[0].path)
        return hash_text(*(f"{one.path.name} {one.share} {hash_file(one.path)}" for one in files))
    except OSError as problem:
        raise WeathermanError("data.unreadable", f"{problem.filename}: {problem.strerror}.") from problem


def conversations_of(
    path: Path, personas: Collection[str], reading: Reading = PLAIN, changes: Changes | None = None
) -> Iterator[Conversation]:
    """The conversations of a file whose persona is one of these; all if none is named.

    Args:
        path: the file, or a place that means several.
        personas: whose conversations are taken.
        reading: how the file is to be read.
        changes: gets the count of what was changed.

    Raises:
        WeathermanError: the file or a row is not valid, or a persona has no conversation in it.
    """
    found: Counter[str] = Counter()
    for conversation in read_conversations(path, reading, changes):
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
    path: Path, template: Template, tokenizer: TextTokenizer, choice: _Choice, cache_folder: Path | None
) -> RenderedFile:
    if cache_folder is None:
        return _rendered(path, template, tokenizer, choice)
    try:
        # The files' names are part of the key, since the examples' sources name them.
        names = [one.path.name for one in data_files(path)]
        spelled = (template.hash, template.control_tokens, tokenizer.hash)
        key = hash_text(*names, hash_data(path), *spelled, choice.key)
    except WeathermanError:
        return _rendered(path, template, tokenizer, choice)  # which says what is wrong with the file
    known = read_cache(cache_folder, key)
    if known is not None:
        return known
    rendered = _rendered(path, template, tokenizer, choice)
    write_cache(cache_folder, key, rendered)
    return rendered


def _rendered(path: Path, template: Template, tokenizer: TextTokenizer, choice: _Choice) -> RenderedFile:
    examples: list[Rendered] = []
    dropped: list[Dropped] = []
    changes = Changes()
    num_conversations = 0
    conversations = conversations_of(path, choice.personas, choice.reading, changes)
    fit = (fitted(one, template, choice.text_beside_calls, changes) for one in conversations)
    for views in render_all(fit, template, tokenizer):
        num_conversations += 1
        longest = max((len(view.ids) for view in views), default=0)
        if longest > choice.max_seq_length:
            dropped.append(Dropped(views[0].source, longest))
        else:
            examples += [view for view in views if view.mask.any()]
    return RenderedFile(tuple(examples), tuple(dropped), num_conversations, hash_data(path), dict(changes))
