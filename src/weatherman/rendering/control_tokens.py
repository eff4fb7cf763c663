"""Control tokens: which ones a model has, where a text spells them, and what becomes of those in data."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import Any

from weatherman.errors import WeathermanError
from weatherman.rendering.jinja_sandbox import literals
from weatherman.rendering.template import Template
from weatherman.rendering.tokenizer import TextTokenizer

# Stands inside a control token that data spells, so that the template's own are told apart from it; no text has it.
MARK = "\U000f0000"
_ESCAPED_MARK = "\\udb80\\udc00"
_MAX_KNOWN = 100_000


class ControlTokens:
    """The control tokens of a template on a vocabulary.

    They are the vocabulary's special tokens, and those of its added tokens that the template writes by itself, such
    as `<think>`. Tokens of white space are none.

    Args:
        template: the chat template.
        tokenizer: the vocabulary.
    """

    def __init__(self, template: Template, tokenizer: TextTokenizer) -> None:
        written = literals(template.jinja)
        self.ids = {
            text: token.id
            for text, token in tokenizer.added.items()
            if text.strip() and (token.special or text in written)
        }
        self._added = tokenizer.added
        self._policy, self._name = template.control_tokens, template.name
        longest_first = sorted(self.ids, key=len, reverse=True)
        self._pattern = re.compile("|".join(map(re.escape, longest_first)) or "(?!)")
        self._known: set[str] = set()  # texts that spell none

    def split(self, text: str) -> list[tuple[str, bool]]:
        """Cut a rendered text into (text, whether that is a control token); empty texts are left out."""
        parts: list[tuple[str, bool]] = []
        place = 0
        for match in self._pattern.finditer(text):
            token = self._added[match.group()]
            between = text[place : match.start()]
            if token.eats_left:
                between = between.rstrip()
            parts += [(between, False)] if between else []
            parts.append((match.group(), True))
            place = match.end()
            if token.eats_right:
                place += len(text[place:]) - len(text[place:].lstrip())
        return [*parts, (text[place:], False)] if place < len(text) else parts

    def first_stop(self, text: str, stops: tuple[str, ...]) -> tuple[int, int] | None:
        """Where the first of the stop tokens begins and ends in a rendered text; None if there is none."""
        found = next((match for match in self._pattern.finditer(text) if match.group() in stops), None)
        return found.span() if found else None

    def guarded(self, data: Any, source: str) -> Any:
        """Data in which no text is taken for a control token: refused if one is spelled there, or marked.

        Args:
            data: texts, and lists and dicts of them.
            source: file and line, for the message.

        Raises:
            WeathermanError: a text spells a control token, and `control_tokens` is `refuse`.
        """
        if all(text in self._known for text in _texts(data)):
            return data
        return _mapped(data, lambda text: self._guarded_text(text, source))

    def _guarded_text(self, text: str, source: str) -> str:
        if text in self._known:
            return text
        match = self._pattern.search(text)
        if match is None and MARK not in text:
            if len(self._known) < _MAX_KNOWN:
                self._known.add(text)
            return text
        if self._policy == "refuse" or match is None:
            spelled = match.group() if match else "U+F0000"
            raise WeathermanError(
                "data.control-token",
                f"{source}: a text spells {spelled!r}, which the chat template {self._name} uses as a control token.",
                "take it out, or set control_tokens: text to train on it as plain text.",
            )
        return self._pattern.sub(lambda found: found.group()[0] + MARK + found.group()[1:], text)


def unmarked(text: str) -> str:
    """A rendered text as the data spelled it."""
    if MARK in text or _ESCAPED_MARK in text:
        return text.replace(MARK, "").replace(_ESCAPED_MARK, "")
    return text


def is_marked(text: str) -> bool:
    """Whether data spelled a control token in this piece of a rendered text."""
    return MARK in text or _ESCAPED_MARK in text


def _texts(data: Any) -> Iterator[str]:
    if isinstance(data, str):
        yield data
    elif isinstance(data, dict):
        for key, value in data.items():
            yield key
            yield from _texts(value)
    elif isinstance(data, list | tuple):
        for value in data:
            yield from _texts(value)
    elif hasattr(data, "text"):
        yield data.text


def _mapped(data: Any, change: Callable[[str], str]) -> Any:
    if isinstance(data, str):
        return change(data)
    if isinstance(data, dict):
        return {change(key): _mapped(value, change) for key, value in data.items()}
    if isinstance(data, list | tuple):
        return [_mapped(value, change) for value in data]
    if hasattr(data, "text"):
        return type(data)(change(data.text))
    return data
