"""What a run shows for its effect: tool calls on held-out prompts and sample answers, with and without the adapter."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from weatherman.engine.base import Engine
from weatherman.records import Conversation, Message, ToolCall
from weatherman.task.task import Persona, Task
from weatherman.tools.checking import check_call
from weatherman.tools.source import ToolError

_MAX_CALL_TOKENS = 72
_MAX_ANSWER_TOKENS = 110
_PROMPTS_PER_BATCH = 20

Encode = Callable[[Conversation], list[int]]
Parse = Callable[[Sequence[int]], Message]


@dataclass(frozen=True, slots=True)
class ToolScore:
    """Of `num_prompts` prompts whose reference answer is a tool call: replies whose calls are all declared and
    schema-valid, and replies that call the very tool of the reference.
    """

    num_prompts: int
    num_valid: int
    num_right_tool: int


@dataclass(frozen=True, slots=True)
class Sample:
    """What a model was asked and what it answered, as text.

    Attributes:
        persona: who was asked.
        prompt: the last question of the user.
        answer: the model's reply to the last message.
        messages: all that the model saw before, tool results too: role, content and calls of each message.
    """

    persona: str
    prompt: str
    answer: str
    messages: tuple[dict[str, Any], ...] = ()


def before_reply(conversation: Conversation, index: int) -> Conversation:
    """The conversation up to, and without, message `index`."""
    return Conversation(conversation.messages[:index], conversation.tools, conversation.metadata, conversation.source)


def tool_prompts(conversations: Sequence[Conversation], limit: int) -> list[tuple[Conversation, Message]]:
    """The first `limit` conversations whose first reply is a tool call, cut before it, each with that reply."""
    chosen = []
    for conversation in conversations:
        first = next((i for i, m in enumerate(conversation.messages) if m.role == "assistant"), None)
        if first is not None and conversation.messages[first].tool_calls:
            chosen.append((before_reply(conversation, first), conversation.messages[first]))
    return chosen[:limit]


def valid_call(call: ToolCall, tools: Sequence[dict[str, Any]]) -> bool:
    """Whether a call names a declared tool and its arguments fit that tool's JSON schema."""
    try:
        check_call(call.name, call.arguments, tools)
    except ToolError:
        return False
    return True


def score_tool_calls(
    engine: Engine,
    conversations: Sequence[Conversation],
    limit: int,
    encode: Encode,
    parse: Parse,
    *,
    adapter: bool,
) -> ToolScore:
    """Let the model answer prompts that want a tool call and judge the calls.

    Args:
        engine: the model.
        conversations: held-out conversations.
        limit: how many prompts to use.
        encode: conversation -> prompt token ids.
        parse: generated token ids -> message.
        adapter: with the LoRA adapter, or the base model alone.

    Returns:
        The score.
    """
    prompts = tool_prompts(conversations, limit)
    replies: list[Message] = []
    for begin in range(0, len(prompts), _PROMPTS_PER_BATCH):
        batch = [encode(prompt) for prompt, _ in prompts[begin : begin + _PROMPTS_PER_BATCH]]
        replies += [parse(ids) for ids in engine.generate(batch, _MAX_CALL_TOKENS, adapter=adapter)]
    num_valid = num_right = 0
    for (prompt, reference), reply in zip(prompts, replies, strict=True):
        valid = bool(reply.tool_calls) and all(valid_call(call, prompt.tools) for call in reply.tool_calls)
        num_valid += valid
        num_right += valid and reply.tool_calls[0].name == reference.tool_calls[0].name
    return ToolScore(len(prompts), num_valid, num_right)


def sample_prompts(conversations: Sequence[Conversation], questions: Sequence[str], task: Task) -> list[Conversation]:
    """Prompts to show: the user's `questions` under the task's personas in turn, or, without any, one held-out that
    wants a tool call and, in each voice, one that wants the final answer.
    """
    if questions:
        voices = task.personas or (task.persona(""),)
        return [_ask(voices[index % len(voices)], question, task) for index, question in enumerate(questions)]
    calls = [prompt for prompt, _ in tool_prompts(conversations, 1)]
    told = [
        c for c in conversations if len(c.messages) > 1 and c.messages[-2].role == "tool" and c.messages[-1].content
    ]
    return calls + [before_reply(c, len(c.messages) - 1) for c in _first_of_each(told)]


def _persona(conversation: Conversation) -> str:
    return str(conversation.metadata.get("persona", ""))


def _first_of_each(conversations: Sequence[Conversation]) -> list[Conversation]:
    """The first conversation of each persona, in the order in which they come."""
    found: dict[str, Conversation] = {}
    for conversation in conversations:
        found.setdefault(_persona(conversation), conversation)
    return list(found.values())


def _ask(persona: Persona, question: str, task: Task) -> Conversation:
    messages = (*persona.opening, Message("user", question))
    return Conversation(messages, task.tools, {"persona": persona.name} if persona.name else {})


def answer_samples(
    engine: Engine,
    prompts: Sequence[Conversation],
    encode: Encode,
    decode: Callable[[Sequence[int]], str],
    *,
    adapter: bool,
) -> list[Sample]:
    """Let the model answer the sample prompts."""
    if not prompts:
        return []
    replies = engine.generate([encode(prompt) for prompt in prompts], _MAX_ANSWER_TOKENS, adapter=adapter)
    return [
        Sample(
            _persona(prompt),
            next((m.content or "" for m in reversed(prompt.messages) if m.role == "user"), ""),
            decode(ids).strip(),
            tuple(_seen(message) for message in prompt.messages),
        )
        for prompt, ids in zip(prompts, replies, strict=True)
    ]


def _seen(message: Message) -> dict[str, Any]:
    """A message as `effect.json` keeps it."""
    calls = [{"name": call.name, "arguments": call.arguments} for call in message.tool_calls]
    return {"role": message.role, "content": message.content, "tool_calls": calls}
