"""What the assistant says in each turn of a conversation, and behind which prompt, found by rendering alone."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from os.path import commonprefix
from typing import Any

from weatherman.errors import WeathermanError
from weatherman.records import Conversation
from weatherman.rendering.template import Template, raised

_PROBES = ("Aye.", "9, or so")


@dataclass(frozen=True, slots=True)
class Turn:
    """One supervised turn in words.

    Attributes:
        index: of its message in the conversation.
        prompt: what a server sends to the model at that point, exactly.
        completion: what the template spells for the assistant's message behind it, to the end of the text.
    """

    index: int
    prompt: str
    completion: str


class TextOf:
    """Renders the beginnings of one conversation.

    Args:
        conversation: what is rendered.
        template: by which template.
        messages: its messages in the server's shape, control tokens marked where that was asked for.
        tools: its tools, likewise.
    """

    def __init__(
        self,
        conversation: Conversation,
        template: Template,
        messages: list[dict[str, Any]],
        tools: list[dict[str, Any]],
    ) -> None:
        self._conversation, self._template = conversation, template
        self._messages, self._tools = messages, tools

    def turns(self) -> Iterator[Turn]:
        """The supervised turns in order.

        Raises:
            WeathermanError: the template refuses the conversation, or one of its prompts does not lead to its turn.
        """
        for index, message in enumerate(self._conversation.messages):
            if message.role == "assistant" and message.trained:
                yield self._turn(index)

    def prompt(self) -> str:
        """The text that asks for the turn behind the last message.

        Raises:
            WeathermanError: the template refuses the conversation.
        """
        return self._text(self._messages, prompt=True)

    def _turn(self, index: int) -> Turn:
        before = self._messages[:index]
        prompt, full = self._text(before, prompt=True), self._text(self._messages[: index + 1])
        if full.startswith(prompt):
            return Turn(index, prompt, full[len(prompt) :])
        begin = self._beginning(before, prompt, full)
        if begin is None:
            raise WeathermanError(
                "template.prompt-not-prefix",
                f"{self._conversation.source}: what the chat template {self._template.name} asks the assistant with "
                f"does not lead to what it spells for message {index + 1}.",
                "try template_options: {enable_thinking: false}, or another chat_template.",
            )
        return Turn(index, prompt, full[begin:])

    def _beginning(self, before: list[dict[str, Any]], prompt: str, full: str) -> int | None:
        """Where in `full` the last turn's words begin; some templates spell the turns before it differently now."""
        so_far = self._text(before)
        asked = prompt[len(so_far) :] if prompt.startswith(so_far) else ""
        probes = [self._text([*before, {"role": "assistant", "content": words}]) for words in _PROBES]
        place = commonprefix([full, *probes]).rfind(asked) if asked else -1
        return place + len(asked) if place >= 0 else None

    def opening_of_next(self, turn: Turn) -> str:
        """What the template spells right behind a turn when the conversation goes on; empty if that is not clear."""
        following = [
            {"role": "tool", "tool_call_id": call["id"], "name": call["function"]["name"], "content": _PROBES[0]}
            for call in self._messages[turn.index].get("tool_calls", ())
        ] or [{"role": "user", "content": _PROBES[0]}]
        full = self._text(self._messages[: turn.index + 1])
        longer = self._text([*self._messages[: turn.index + 1], *following])
        return longer[len(full) :] if longer.startswith(full) else ""

    def _text(self, messages: list[dict[str, Any]], *, prompt: bool = False) -> str:
        try:
            return self._template.text(messages, self._tools, prompt=prompt)
        except ValueError as problem:
            raise raised(self._template, self._conversation.source, problem) from problem
