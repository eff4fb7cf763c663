"""A chat template: a Jinja text with its options, the tokens that end a turn, and how its replies are read."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Literal

from weatherman.errors import WeathermanError
from weatherman.records import Message
from weatherman.rendering.jinja_sandbox import compile_template, reads_date
from weatherman.rendering.shape import server_messages
from weatherman.system.fingerprint import hash_text

Reader = Callable[[str], Message]


@dataclass(frozen=True, slots=True)
class Template:
    """A named way from conversation to text and back.

    Attributes:
        name: what configs and messages call it.
        jinja: its text, as chat servers read it.
        stops: the control tokens that end the assistant's turn.
        version: of our own templates; raised whenever what they spell changes.
        variables: special tokens by the names that templates know them by, (`bos_token`, `<s>`).
        options: further variables of the template, as JSON.
        control_tokens: whether control tokens that are spelled in data are refused or encoded as plain text.
        date: what the template is told if it asks for the date, ISO; empty if it does not ask.
        call_token: the control token that begins a turn of tool calls, if the template has one.
        parse: reads a generated turn; None if nobody knows how its calls are to be read.
        shape: messages as the template's server hands them over.
        is_ours: made here, for a model that has none or a lesser one.
    """

    name: str
    jinja: str
    stops: tuple[str, ...]
    version: int = 1
    variables: tuple[tuple[str, str], ...] = ()
    options: str = "{}"
    control_tokens: Literal["refuse", "text"] = "refuse"
    date: str = ""
    call_token: str | None = None
    parse: Reader | None = None
    shape: Callable[[Iterable[Message]], list[dict[str, Any]]] = server_messages
    is_ours: bool = False

    @property
    def hash(self) -> str:
        """SHA-256 that identifies the template's output."""
        own = (self.name, str(self.version), self.jinja)
        if self.is_ours and self.options == "{}":
            return hash_text(*own)
        variables = [text for pair in self.variables for text in pair]
        return hash_text(*own, self.options, self.date, *self.stops, *variables)

    @property
    def reads_date(self) -> bool:
        """Whether the template asks for the date of today."""
        return reads_date(self.jinja)

    def text(self, messages: list[dict[str, Any]], tools: Sequence[dict[str, Any]], *, prompt: bool) -> str:
        """Spell messages that `shape` made.

        Args:
            messages: the conversation so far.
            tools: what may be called.
            prompt: whether the assistant's next turn is asked for.

        Raises:
            ValueError: the template refuses the conversation.
        """
        given = list(tools) or None
        return _compiled(self)(messages=messages, tools=given, add_generation_prompt=prompt, documents=None)


def describe_template(template: Template) -> str:
    """A template in a few words, for people."""
    if template.is_ours:
        return f"{template.name}, ours for this model"
    options = "" if template.options == "{}" else f", options {template.options}"
    return f"{template.name}'s own, turns end with {' or '.join(template.stops) or 'nothing known'}{options}"


def raised(template: Template, source: str, problem: Exception) -> WeathermanError:
    """The error for a conversation that the template itself refuses."""
    return WeathermanError(
        "template.raises",
        f"{source}: the chat template {template.name} refuses the conversation: {problem}",
        "leave the row out, or train with another chat_template.",
    )


@lru_cache(maxsize=16)
def _compiled(template: Template) -> Callable[..., str]:
    from functools import partial

    call = compile_template(template.jinja, template.date, template.name)
    return partial(call, **(dict(template.variables) | json.loads(template.options)))


def to_json(value: Any) -> str:
    """JSON as both of our templates spell it: spaces after comma and colon, characters as they are."""
    return json.dumps(value, ensure_ascii=False)
