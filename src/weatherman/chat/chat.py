"""Talk to an adapter: a persona, a conversation, and its tools, really executed, round after round."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from weatherman.chat.figures import figures_nobody_gave
from weatherman.chat.tool_use import ToolOutcome, run_calls, unreadable_call
from weatherman.errors import WeathermanError
from weatherman.records import Conversation, Message
from weatherman.rendering.render import parse_reply, prompt_ids
from weatherman.rendering.templates import Template
from weatherman.rendering.tokenizer import TextTokenizer
from weatherman.task.task import Task
from weatherman.tools.source import ToolSource

MAX_ROUNDS = 5
MAX_NEW_TOKENS = 320
_BROKEN = "\ufffd"
_CALL_MARKS = ("<tool_call>", "[TOOL_CALLS]")


class Talker(Protocol):
    """A model that continues token ids."""

    max_tokens: int

    def generate(
        self, prompt: Sequence[int], max_new_tokens: int, on_token: Callable[[int], None], *, adapter: bool = True
    ) -> list[int]:
        """The greedy continuation, up to and without the stop token."""


class Listener(Protocol):
    """Hears an answer while it is made."""

    def text(self, text: str) -> None:
        """A further piece of the answer's text; raw, as the model wrote it."""

    def called(self, outcome: ToolOutcome) -> None:
        """A tool call and what came of it."""


class Silence:
    """Hears nothing."""

    def text(self, text: str) -> None:
        """Do nothing."""

    def called(self, outcome: ToolOutcome) -> None:
        """Do nothing."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What came of a question.

    Attributes:
        text: the assistant's words; empty if it never got to them.
        outcomes: the tool calls on the way, in order.
        problem: why there is no proper answer, or empty.
        num_tokens: generated in all.
        figures: those in the text that no tool result, and nobody else, gave.
    """

    text: str
    outcomes: tuple[ToolOutcome, ...] = ()
    problem: str = ""
    num_tokens: int = 0
    figures: tuple[str, ...] = ()

    @property
    def complete(self) -> bool:
        """Whether every call on the way got a result; without a source of results the answer ends at the call."""
        return all(outcome.executed for outcome in self.outcomes)

    def to_json(self) -> dict[str, Any]:
        """The answer for programs."""
        calls = [
            {"name": o.call.name, "arguments": o.call.arguments, "valid": o.valid, "result": o.result}
            for o in self.outcomes
        ]
        figures = {"figures_no_tool_gave": list(self.figures), "num_tokens": self.num_tokens}
        return {"answer": self.text, "calls": calls, "problem": self.problem, **figures}


@dataclass
class Chat:
    """A conversation with one persona.

    Args:
        talker: the model.
        template: its chat template.
        tokenizer: its tokenizer.
        task: what the adapter was taught: personas and their prompts.
        tools: the declarations that the model is told of.
        source: executes the tools; without one a valid call ends the answer.
        persona: one of the task's; empty takes its first.
        adapter: with the adapter, or the base model alone.
        max_new_tokens: of one turn of the model.
    """

    talker: Talker
    template: Template
    tokenizer: TextTokenizer
    task: Task
    tools: tuple[dict[str, Any], ...] = ()
    source: ToolSource | None = None
    persona: str = ""
    adapter: bool = True
    max_new_tokens: int = MAX_NEW_TOKENS
    _messages: list[Message] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.switch(self.persona)

    def switch(self, persona: str) -> None:
        """Speak with another persona from now on, in a new conversation.

        Raises:
            WeathermanError: there is no such persona.
        """
        chosen = self.task.persona(persona)
        self._messages = list(chosen.opening)
        self.persona = chosen.name

    def ask(self, question: str, listener: Listener | None = None) -> Answer:
        """Put a question; a question that fails is forgotten, so that the next one starts from sound ground.

        Args:
            question: the user's words.
            listener: hears the answer while it is made.

        Raises:
            WeathermanError: the conversation no longer fits into the model's context.
        """
        before = len(self._messages)
        self._messages.append(Message("user", question))
        try:
            answer = self._answer(listener or Silence())
        except BaseException:
            del self._messages[before:]
            raise
        if answer.problem or not answer.complete:
            del self._messages[before:]
        return answer

    def _answer(self, listener: Listener) -> Answer:
        outcomes: list[ToolOutcome] = []
        num_tokens = 0
        for _ in range(MAX_ROUNDS):
            ids = self._generate(listener)
            num_tokens += len(ids)
            reply = parse_reply(ids, self.template, self.tokenizer)
            self._messages.append(reply)
            done = self._run(reply)
            if not done:
                figures = figures_nobody_gave(reply.content or "", self._messages[:-1])
                return Answer(reply.content or "", tuple(outcomes), self._fault(reply, ids), num_tokens, figures)
            for outcome in done:
                listener.called(outcome)
                outcomes.append(outcome)
            if not all(outcome.executed for outcome in done):
                return Answer("", tuple(outcomes), "", num_tokens)
            self._messages += [outcome.to_message() for outcome in done]
        return Answer("", tuple(outcomes), f"no answer after {MAX_ROUNDS} rounds of tool calls", num_tokens)

    def _run(self, reply: Message) -> list[ToolOutcome]:
        """Execute the calls of a turn; one that cannot be read is told to the model if its template can hold that."""
        if not reply.tool_calls and _spells_call(reply) and self.template.call_token is None:
            return [unreadable_call(reply.content or "")]
        return run_calls(reply.tool_calls, self.tools, self.source)

    def _fault(self, reply: Message, ids: Sequence[int]) -> str:
        text = reply.content or ""
        if _spells_call(reply):
            return "the model wrote a tool call that cannot be read"
        if len(ids) >= self.max_new_tokens:
            return f"the answer was cut after {self.max_new_tokens} tokens"
        return "" if text else "the model said nothing"

    def _generate(self, listener: Listener) -> list[int]:
        conversation = Conversation(tuple(self._messages), self.tools)
        prompt = prompt_ids(conversation, self.template, self.tokenizer)
        if len(prompt) + self.max_new_tokens > self.talker.max_tokens:
            raise WeathermanError(
                "chat.too-long",
                f"the conversation has {len(prompt):,} tokens; the model reads {self.talker.max_tokens:,}.",
                "begin a new one: /new",
            )
        stream = TextStream(self.tokenizer, listener.text)
        ids = self.talker.generate(prompt, self.max_new_tokens, stream.token, adapter=self.adapter)
        stream.end()
        return ids


def _spells_call(reply: Message) -> bool:
    return any(mark in (reply.content or "") for mark in _CALL_MARKS)


class TextStream:
    """Turns tokens into text as they come, and keeps the spelling of tool calls to itself.

    Args:
        tokenizer: decodes.
        tell: hears each new piece of text.
    """

    def __init__(self, tokenizer: TextTokenizer, tell: Callable[[str], None]) -> None:
        self._tokenizer, self._tell = tokenizer, tell
        self._ids: list[int] = []
        self._num_told = 0

    def token(self, token: int) -> None:
        """Take one token."""
        self._ids.append(token)
        text = self._tokenizer.decode(self._ids)
        if not text.endswith(_BROKEN):  # the rest of a character is still to come
            self._tell_to(text, _undecided(text))

    def end(self) -> None:
        """Tell what was held back because it might have begun a call."""
        text = self._tokenizer.decode(self._ids)
        self._tell_to(text, min((place for mark in _CALL_MARKS if (place := text.find(mark)) >= 0), default=len(text)))

    def _tell_to(self, text: str, end: int) -> None:
        if end > self._num_told:
            self._tell(text[self._num_told : end])
            self._num_told = end


def _undecided(text: str) -> int:
    """Where a tool call begins in `text`, or may be about to."""
    places = [len(text)]
    for mark in _CALL_MARKS:
        if (place := text.find(mark)) >= 0:
            places.append(place)
        places += [len(text) - length for length in range(1, len(mark)) if text.endswith(mark[:length])]
    return min(places)
