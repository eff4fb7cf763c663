"""How a template's replies are read back: a reader is used only if it returns the turns that the template spells."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from weatherman.errors import WeathermanError
from weatherman.records import Conversation, Message, ToolCall
from weatherman.rendering.read_calls import read_call, read_json, read_mistral, read_tagged
from weatherman.rendering.render import parse_reply, prompt_ids, render_each
from weatherman.rendering.template import Reader, Template
from weatherman.rendering.text_tokenizer import TextTokenizer

_TOOL = {
    "type": "function",
    "function": {
        "name": "get_tide",
        "description": "The tide at a harbour.",
        "parameters": {
            "type": "object",
            "properties": {"harbour": {"type": "string"}, "hours": {"type": "integer"}},
            "required": ["harbour"],
        },
    },
}
_ASKED = Message("user", "How high is the water at Brest?")
_CALL = Message("assistant", None, (ToolCall("abc123XYZ", "get_tide", {"harbour": "Brest", "hours": 3}),))
_RESULT = Message("tool", "3.4", (), "abc123XYZ")
_TURNS = (
    Conversation((_ASKED, _CALL), (_TOOL,)),
    Conversation(
        (_ASKED, _CALL, Message("tool", "3.4", (), "abc123XYZ"), Message("assistant", "3.4 metres.")), (_TOOL,)
    ),
)


def find_reader(template: Template, tokenizer: TextTokenizer, response_template: object) -> Reader | None:
    """A reader that returns this template's own turns; None if none does, and its calls are text then.

    Args:
        template: the chat template.
        tokenizer: its tokenizer.
        response_template: the model's own description of its replies, in transformers' form, if it has one.
    """
    readers: list[Reader] = [read_tagged, read_json, read_mistral]
    if isinstance(response_template, Mapping):
        readers.insert(0, _by_transformers(response_template))
    for reader in readers:
        tried = replace(template, parse=reader)
        if all(reads(turn, tried, tokenizer) for turn in _TURNS):
            return reader
    return None


def _by_transformers(described: Mapping[str, Any]) -> Reader:
    def read(text: str) -> Message:
        from transformers.utils.chat_parsing import parse_response

        try:
            found = parse_response(text, dict(described), prefix="")
        except (ValueError, KeyError, TypeError):
            return Message("assistant", text.strip())
        functions = [one.get("function", one) for one in found.get("tool_calls") or []]
        calls = [read_call(one, place) for place, one in enumerate(functions)]
        if None in calls:
            return Message("assistant", text.strip())
        return Message("assistant", found.get("content") or None, tuple(call for call in calls if call))

    return read


def reads(conversation: Conversation, template: Template, tokenizer: TextTokenizer) -> bool:
    """Whether the last turn, as it is trained, is read back with its words and calls.

    Args:
        conversation: ends with the assistant.
        template: the chat template.
        tokenizer: its tokenizer.
    """
    before = Conversation(conversation.messages[:-1], conversation.tools, {}, conversation.source)
    (views,) = render_each([conversation], template, tokenizer)
    if isinstance(views, WeathermanError):
        return False
    prompt = prompt_ids(before, template, tokenizer)
    reply = next((view.ids[len(prompt) :] for view in views if view.ids[: len(prompt)].tolist() == prompt), None)
    return reply is not None and _same(parse_reply(reply.tolist(), template, tokenizer), conversation.messages[-1])


def _same(found: Message, said: Message) -> bool:
    calls = [[(call.name, call.arguments) for call in message.tool_calls] for message in (found, said)]
    return calls[0] == calls[1] and (found.content or "").strip() == (said.content or "").strip()
