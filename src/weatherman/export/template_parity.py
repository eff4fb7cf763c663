"""The gate before an export: what the exported tokenizer makes of conversations is what training made of them."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from weatherman.errors import WeathermanError
from weatherman.records import Conversation
from weatherman.rendering.render import prompt_ids, render
from weatherman.rendering.shape import server_messages
from weatherman.rendering.templates import Template
from weatherman.rendering.tokenizer import TextTokenizer


@dataclass(frozen=True, slots=True)
class Parity:
    """What was compared and found equal: whole conversations, the prompts in them, and their tokens."""

    num_conversations: int
    num_prompts: int
    num_tokens: int


def check_parity(
    folder: Path, conversations: Iterable[Conversation], template: Template, tokenizer: TextTokenizer
) -> Parity:
    """Render every conversation, and every prompt in it, by the training template and by the exported tokenizer's.

    Args:
        folder: holds the exported tokenizer with its chat template.
        conversations: what to compare on.
        template: the training template.
        tokenizer: the training tokenizer.

    Returns:
        How much was compared.

    Raises:
        WeathermanError: something differs; the message names conversation, place and tokens.
    """
    from transformers import AutoTokenizer

    exported = AutoTokenizer.from_pretrained(folder)
    num_conversations = num_prompts = num_tokens = 0
    for conversation in conversations:
        num_conversations += 1
        users = [i for i, message in enumerate(conversation.messages) if message.role == "user"]
        views = render(conversation, template, tokenizer)
        ends = [*users[1:], len(conversation.messages)] if len(views) > 1 else [len(conversation.messages)]
        # Of a template with other views every prompt is compared, and each view is a prompt and what follows it.
        whole = template.is_ours and len(views) == len(ends)
        for view, end in zip(views, ends, strict=True) if whole else ():
            found = _apply(exported, template, conversation, end, prompt=False)
            trained = view.ids.tolist()
            # A template may end the last turn with a line break, which is nobody's context in training.
            if str(exported.decode(found[len(trained) :])).strip():
                trained = [*trained, -1]
            _compare(found[: len(trained)], trained, conversation, f"the first {end} messages", exported)
            num_tokens += len(view.ids)
        for index, message in enumerate(conversation.messages):
            if message.role == "assistant":
                before = Conversation(conversation.messages[:index], conversation.tools, {}, conversation.source)
                trained = prompt_ids(before, template, tokenizer)
                found = _apply(exported, template, conversation, index, prompt=True)
                _compare(found, trained, conversation, f"the prompt for message {index + 1}", exported)
                num_prompts += 1
    if not num_conversations:
        raise WeathermanError("export.no-conversations", "there is no conversation to compare the templates on.")
    return Parity(num_conversations, num_prompts, num_tokens)


def _apply(exported: Any, template: Template, conversation: Conversation, end: int, *, prompt: bool) -> list[int]:
    found = exported.apply_chat_template(
        server_messages(conversation.messages[:end]),
        tools=list(conversation.tools) or None,
        add_generation_prompt=prompt,
        return_dict=False,
        **json.loads(template.options),
    )
    return list(found)


def _compare(found: list[int], trained: list[int], conversation: Conversation, what: str, exported: Any) -> None:
    if found == trained:
        return
    pairs = zip(found, trained, strict=False)
    at = next((i for i, (a, b) in enumerate(pairs) if a != b), min(len(found), len(trained)))
    here, there = (exported.decode([t for t in ids[max(0, at - 3) : at + 3] if t >= 0]) for ids in (found, trained))
    raise WeathermanError(
        "export.template-differs",
        f"{conversation.source}, {what}: the exported template gives other tokens than training from token {at} on: "
        f"{here!r} instead of {there!r}. Nothing was exported.",
        "export with the weatherman version that trained the adapter (run.json names it).",
    )
