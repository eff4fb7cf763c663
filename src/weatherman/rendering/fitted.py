"""What a template cannot hold of a conversation: dropped if that is wished, and counted, or refused by name."""

from __future__ import annotations

from dataclasses import replace
from typing import Literal

from weatherman.data.changes import Changes
from weatherman.records import Conversation, Message
from weatherman.rendering.template import Template

TextBesideCalls = Literal["refuse", "drop"]


def fitted(conversation: Conversation, template: Template, beside: TextBesideCalls, changes: Changes) -> Conversation:
    """A conversation as the template can hold it.

    Args:
        conversation: as it was read.
        template: the chat template.
        beside: what to do with a text beside calls where the template holds only one of them; "refuse" leaves the
            conversation as it is, and rendering it names the place.
        changes: counts what is dropped.
    """
    if template.holds_text_beside_calls or beside == "refuse":
        return conversation
    num_texts = sum(_says_and_calls(message) for message in conversation.messages)
    if not num_texts:
        return conversation
    changes.add("text-beside-calls", num_texts)
    messages = [replace(one, content=None) if _says_and_calls(one) else one for one in conversation.messages]
    return replace(conversation, messages=tuple(messages))


def _says_and_calls(message: Message) -> bool:
    return bool(message.tool_calls) and bool((message.content or "").strip())
