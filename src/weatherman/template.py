"""The chat templates, pinned and hashed: a conversation becomes pieces of text and control tokens.

A template works on pieces, not on one long string, so that text from data is never read as a control token, and so that
what the assistant said itself is known exactly: those pieces are supervised.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from weatherman.data.fingerprint import hash_text
from weatherman.errors import WeathermanError
from weatherman.records import Conversation, Message, ToolCall
from weatherman.template_jinja import MISTRAL_V3_JINJA, SMOLLM2_JINJA, TOOLS_INTRO, TOOLS_OUTRO

CALL_ID = re.compile(r"[A-Za-z0-9]{9}")


@dataclass(frozen=True, slots=True)
class Piece:
    """A control token (`special`) or a text; `supervised` if the assistant produced it."""

    text: str
    special: bool = False
    supervised: bool = False


@dataclass(frozen=True, slots=True)
class Template:
    """A named way from conversation to pieces and back.

    `views` gives one piece list per context in which the assistant speaks; `prompt` the pieces that ask for its next turn;
    `parse` reads a generated turn. `jinja` says the same in the form that chat servers read. `version` is raised when
    the pieces change.
    """

    name: str
    version: int
    jinja: str
    stop_token: str
    views: Callable[[Conversation], list[list[Piece]]]
    prompt: Callable[[Conversation], list[Piece]]
    parse: Callable[[str], Message]

    @property
    def hash(self) -> str:
        """Identifies the template's output."""
        return hash_text(self.name, str(self.version), self.jinja)


def choose_template(name: str, has_token: Callable[[str], bool]) -> Template:
    """The template of that name; "auto" goes by the control tokens of the tokenizer.

    Args:
        name: "auto", "mistral-v3" or "smollm2".
        has_token: whether the vocabulary has a control token.

    Raises:
        WeathermanError: no template fits the tokenizer.
    """
    if name != "auto":
        return TEMPLATES[name]
    for template, token in ((SMOLLM2, "<|im_start|>"), (MISTRAL_V3, "[TOOL_CALLS]")):
        if has_token(token):
            return template
    raise WeathermanError(
        "template.unknown", "no chat template fits this model's tokenizer.", f"set chat_template: {' or '.join(TEMPLATES)}."
    )


def _json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False)


# --- SmolLM2: ChatML, tools first, then the persona -----------------------------------------------------------------


def _smollm2_header(role: str) -> list[Piece]:
    return [Piece("<|im_start|>", special=True), Piece(role + "\n")]


def _smollm2_turn(role: str, text: str) -> list[Piece]:
    return [Piece("<|im_start|>", special=True), Piece(f"{role}\n{text}"), Piece("<|im_end|>", special=True), Piece("\n")]


def _smollm2_reply(message: Message) -> str:
    calls = [
        f"<tool_call>\n{_json({'name': call.name, 'arguments': call.arguments})}\n</tool_call>"
        for call in message.tool_calls
    ]
    return "\n".join([*([message.content.strip()] if message.content else []), *calls])


def _smollm2_pieces(conversation: Conversation) -> list[Piece]:
    messages = list(conversation.messages)
    persona = messages.pop(0).content or "" if messages and messages[0].role == "system" else ""
    tools = "".join(_json(tool) + "\n" for tool in conversation.tools)
    system = (TOOLS_INTRO + tools + TOOLS_OUTRO if tools else "") + persona
    pieces = _smollm2_turn("system", system) if system else []
    for message in messages:
        if message.role == "assistant":
            reply = Piece(_smollm2_reply(message), supervised=True)
            end = Piece("<|im_end|>", special=True, supervised=True)
            pieces += [*_smollm2_header("assistant"), reply, end, Piece("\n")]
        else:
            pieces += _smollm2_turn(message.role, message.content or "")
    return pieces


def _smollm2_views(conversation: Conversation) -> list[list[Piece]]:
    pieces = _smollm2_pieces(conversation)
    return [pieces[:-1] if pieces and pieces[-1] == Piece("\n") else pieces]


def _smollm2_prompt(conversation: Conversation) -> list[Piece]:
    return [*_smollm2_pieces(conversation), *_smollm2_header("assistant")]


_TOOL_CALL = re.compile(r"<tool_call>\s*(.*?)\s*</tool_call>", re.DOTALL)


def _smollm2_parse(text: str) -> Message:
    calls = [_parse_call(match[1], index) for index, match in enumerate(_TOOL_CALL.finditer(text))]
    content = _TOOL_CALL.sub("", text).strip()
    if any(call is None for call in calls):
        return Message("assistant", text.strip())
    return Message("assistant", content or None, tuple(call for call in calls if call))


# --- Mistral v3: the tools and the persona stand before the *last* user message -------------------------------------


def _mistral_pieces(conversation: Conversation, first_supervised: int) -> list[Piece]:
    """The reference encoding of a conversation; assistant turns from message `first_supervised` on are supervised."""
    messages = list(enumerate(conversation.messages))
    persona = ""
    if messages and messages[0][1].role == "system":
        persona = messages.pop(0)[1].content or ""
    last_user = max((index for index, message in messages if message.role == "user"), default=-1)
    ids = _call_ids(conversation)
    pieces = [Piece("<s>", special=True)]
    for index, message in messages:
        if message.role == "user":
            pieces += _mistral_user(message, conversation.tools, persona, is_last=index == last_user)
        elif message.role == "tool":
            result = {"content": _parsed(message.content or ""), "call_id": ids[message.tool_call_id or ""]}
            pieces += [Piece("[TOOL_RESULTS]", special=True), Piece(_json(result)), Piece("[/TOOL_RESULTS]", special=True)]
        else:
            pieces += _mistral_reply(message, ids, supervised=index >= first_supervised, source=conversation.source)
    return pieces


def _mistral_user(message: Message, tools: Sequence[dict[str, Any]], persona: str, *, is_last: bool) -> list[Piece]:
    text = message.content or ""
    pieces = []
    if is_last and tools:
        listed = Piece(_json([_mistral_tool(tool) for tool in tools]))
        pieces = [Piece("[AVAILABLE_TOOLS]", special=True), listed, Piece("[/AVAILABLE_TOOLS]", special=True)]
    if is_last and persona:
        text = f"{persona}\n\n{text}"
    return [*pieces, Piece("[INST]", special=True), Piece(text), Piece("[/INST]", special=True)]


def _mistral_tool(tool: dict[str, Any]) -> dict[str, Any]:
    function = tool["function"]
    fields = {
        "name": function["name"],
        "description": function.get("description", ""),
        "parameters": function.get("parameters", {}),
    }
    return {"type": "function", "function": fields}


def _mistral_reply(message: Message, ids: dict[str, str], *, supervised: bool, source: str) -> list[Piece]:
    if message.tool_calls and message.content:
        raise WeathermanError(
            "template.text-beside-calls",
            f"{source}: the mistral-v3 template cannot hold text and tool calls in one assistant turn.",
            "put the text into a turn of its own, or leave it out.",
        )
    end = Piece("</s>", special=True, supervised=supervised)
    if not message.tool_calls:
        return [Piece((message.content or "").rstrip(" "), supervised=supervised), end]
    calls = [{"name": call.name, "arguments": call.arguments, "id": ids[call.id]} for call in message.tool_calls]
    marker = Piece("[TOOL_CALLS]", special=True, supervised=supervised)
    return [marker, Piece(_json(calls), supervised=supervised), end]


def _call_ids(conversation: Conversation) -> dict[str, str]:
    """Mistral wants ids of 9 alphanumeric characters; others are replaced by a hash of theirs."""
    ids = [call.id for message in conversation.messages for call in message.tool_calls]
    return {id_: id_ if CALL_ID.fullmatch(id_) else hash_text(id_)[:9] for id_ in ids}


def _parsed(text: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return text


def _mistral_views(conversation: Conversation) -> list[list[Piece]]:
    """One view per user turn: the conversation as it looked when the assistant answered it (see docs/decisions)."""
    users = [index for index, message in enumerate(conversation.messages) if message.role == "user"]
    ends = [*users[1:], len(conversation.messages)]
    views = []
    for user, end in zip(users, ends, strict=True):
        seen = Conversation(conversation.messages[:end], conversation.tools, conversation.metadata, conversation.source)
        views.append(_mistral_pieces(seen, first_supervised=user))
    return views


def _mistral_prompt(conversation: Conversation) -> list[Piece]:
    return _mistral_pieces(conversation, first_supervised=len(conversation.messages))


def _mistral_parse(text: str) -> Message:
    marker, _, body = text.strip().partition("[TOOL_CALLS]")
    if marker or not body:
        return Message("assistant", text.strip())
    try:
        raw = json.loads(body)
    except (ValueError, RecursionError):
        return Message("assistant", text.strip())
    calls = [_parse_call(_json(item), index) for index, item in enumerate(raw if isinstance(raw, list) else [raw])]
    if not calls or any(call is None for call in calls):
        return Message("assistant", text.strip())
    return Message("assistant", None, tuple(call for call in calls if call))


def _parse_call(text: str, index: int) -> ToolCall | None:
    try:
        raw = json.loads(text)
    except (ValueError, RecursionError):
        return None
    if not isinstance(raw, dict) or not isinstance(raw.get("name"), str) or not isinstance(raw.get("arguments"), dict):
        return None
    return ToolCall(str(raw.get("id") or f"call{index:05d}"), raw["name"], raw["arguments"])


SMOLLM2 = Template(
    "smollm2", 1, SMOLLM2_JINJA, "<|im_end|>", _smollm2_views, _smollm2_prompt, _smollm2_parse
)  # fmt: skip
MISTRAL_V3 = Template(
    "mistral-v3", 1, MISTRAL_V3_JINJA, "</s>", _mistral_views, _mistral_prompt, _mistral_parse
)  # fmt: skip
TEMPLATES = {template.name: template for template in (SMOLLM2, MISTRAL_V3)}
