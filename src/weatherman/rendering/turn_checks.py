"""What must be true of every supervised turn, so that a wrong mask cannot pass: all that is said, no more, one stop."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from typing import Any

from weatherman.errors import WeathermanError
from weatherman.records import Conversation, Message

_BESIDE = "text_beside_calls: drop leaves such texts out, counted."
_OTHER = "train with another chat_template, or leave such rows out."


def check_turn(conversation: Conversation, index: int, prompt: str, completion: str, name: str) -> None:
    """Look for everything that a turn and its prompt must spell.

    Args:
        conversation: the turn's conversation.
        index: of the turn's message.
        prompt: the text before it, as the data spelled it.
        completion: its supervised text, as the data spelled it.
        name: the template's, for messages.

    Raises:
        WeathermanError: something of the conversation is not there.
    """
    problem = _missing_in_completion(conversation.messages[index], index + 1, completion)
    problem = problem or _missing_in_prompt(conversation, index, prompt)
    if problem:
        code, text = problem
        text = f"{conversation.source}: the {name} template {text}"
        hint = _BESIDE if code == "template.text-beside-calls" else _OTHER
        raise WeathermanError(code, text, hint)


def _missing_in_prompt(conversation: Conversation, index: int, prompt: str) -> tuple[str, str] | None:
    for number, earlier in enumerate(conversation.messages[:index], 1):
        if earlier.role != "assistant" and not _is_spelled(earlier.content or "", prompt):
            return "template.drops-text", f"leaves out the {earlier.role}'s message {number}."
    names = (tool["function"]["name"] for tool in conversation.tools)
    missing = next((name for name in names if name not in prompt), None)
    return ("template.ignores-tools", f"does not tell the model of the tool {missing}.") if missing else None


def _missing_in_completion(message: Message, number: int, completion: str) -> tuple[str, str] | None:
    if not _is_spelled(message.content or "", completion):
        if message.tool_calls:
            return "template.text-beside-calls", "cannot hold text and tool calls in one assistant turn."
        return "template.drops-text", f"leaves out words of the assistant's message {number}."
    if message.reasoning and not _is_spelled(message.reasoning, completion):
        return "template.drops-text", f"leaves out the reasoning of message {number}; take it out of the data."
    wanted = Counter(call.name for call in message.tool_calls)
    missing = [word for word, count in wanted.items() if completion.count(word) < count]
    leaves = [leaf for call in message.tool_calls for leaf in _leaves(call.arguments)]
    missing += [str(leaf) for leaf in leaves if not any(spelling in completion for spelling in _spellings(leaf))]
    if missing:
        calls = f"{len(message.tool_calls)} call{'s' if len(message.tool_calls) > 1 else ''}"
        return "template.drops-call", f"leaves out a part of the {calls} in message {number}: {missing[0]!r}."
    return None


def _is_spelled(text: str, where: str) -> bool:
    """Whether a text stands somewhere: as it is, as JSON has it, or, if it is JSON itself, in all its values."""
    text = text.strip()
    if not text or text in where or any(spelling in where for spelling in _spellings(text)):
        return True
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        return False
    return all(any(spelling in where for spelling in _spellings(leaf)) for leaf in _leaves(value))


def _leaves(value: Any) -> Iterator[Any]:
    if isinstance(value, dict):
        for key, inner in value.items():
            yield key
            yield from _leaves(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from _leaves(inner)
    else:
        yield value


def _spellings(leaf: Any) -> list[str]:
    if isinstance(leaf, str):
        escaped = [json.dumps(leaf, ensure_ascii=ascii_only)[1:-1] for ascii_only in (False, True)]
        return [leaf, leaf.strip(), *escaped, repr(leaf)[1:-1], leaf.replace("'", "\\'")]
    return [json.dumps(leaf), str(leaf)]
