"""The template of Mistral's v3 tokenizer, equal to mistral-common's encoding token by token.

The tools and the persona stand before the *last* user message, so each user turn has a view of its own.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from weatherman.errors import WeathermanError
from weatherman.records import Conversation, Message
from weatherman.rendering.template import Piece, Template, read_call, special, to_json
from weatherman.system.fingerprint import hash_text

_CALL_ID = re.compile(r"[A-Za-z0-9]{9}")
_CALL_ID_LENGTH = 9


def _pieces(conversation: Conversation, first_supervised: int) -> list[Piece]:
    """Encode a conversation; assistant turns from message `first_supervised` on are supervised."""
    messages = list(enumerate(conversation.messages))
    persona = ""
    if messages and messages[0][1].role == "system":
        persona = messages.pop(0)[1].content or ""
    last_user = max((index for index, message in messages if message.role == "user"), default=-1)
    ids = _call_ids(conversation)
    pieces = [special("<s>")]
    for index, message in messages:
        if message.role == "user":
            pieces += _user(message, conversation.tools, persona, is_last=index == last_user)
        elif message.role == "tool":
            result = {"content": _parsed(message.content or ""), "call_id": ids[message.tool_call_id or ""]}
            pieces += [special("[TOOL_RESULTS]"), Piece(to_json(result)), special("[/TOOL_RESULTS]")]
        else:
            pieces += _reply(
                message, ids, supervised=index >= first_supervised and message.trained, source=conversation.source
            )
    return pieces


def _user(message: Message, tools: Sequence[dict[str, Any]], persona: str, *, is_last: bool) -> list[Piece]:
    text = message.content or ""
    pieces = []
    if is_last and tools:
        listed = Piece(to_json([_tool(tool) for tool in tools]))
        pieces = [special("[AVAILABLE_TOOLS]"), listed, special("[/AVAILABLE_TOOLS]")]
    if is_last and persona:
        text = f"{persona}\n\n{text}"
    return [*pieces, special("[INST]"), Piece(text), special("[/INST]")]


def _tool(tool: dict[str, Any]) -> dict[str, Any]:
    function = tool["function"]
    fields = {
        "name": function["name"],
        "description": function.get("description", ""),
        "parameters": function.get("parameters") or {},
    }
    return {"type": "function", "function": fields}


def _reply(message: Message, ids: Mapping[str, str], *, supervised: bool, source: str) -> list[Piece]:
    end = special("</s>", supervised=supervised)
    text = (message.content or "").rstrip(" ")
    if not message.tool_calls:
        return [Piece(text, supervised=supervised), end]
    if text:
        raise WeathermanError(
            "template.text-beside-calls",
            f"{source}: the mistral-v3 template cannot hold text and tool calls in one assistant turn.",
            "text_beside_calls: drop leaves such texts out, counted.",
        )
    calls = [{"name": call.name, "arguments": call.arguments, "id": ids[call.id]} for call in message.tool_calls]
    return [special("[TOOL_CALLS]", supervised=supervised), Piece(to_json(calls), supervised=supervised), end]


def _call_ids(conversation: Conversation) -> dict[str, str]:
    """Mistral wants ids of 9 alphanumeric characters; others are replaced by the start of their hash."""
    ids = [call.id for message in conversation.messages for call in message.tool_calls]
    return {id_: id_ if _CALL_ID.fullmatch(id_) else hash_text(id_)[:_CALL_ID_LENGTH] for id_ in ids}


def _parsed(text: str) -> Any:
    # As the reference does: a result that is JSON is spelled anew, any other is a JSON string.
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return text


def _views(conversation: Conversation) -> list[list[Piece]]:
    users = [index for index, message in enumerate(conversation.messages) if message.role == "user"]
    ends = [*users[1:], len(conversation.messages)]
    return [
        _pieces(replace(conversation, messages=conversation.messages[:end]), first_supervised=user)
        for user, end in zip(users, ends, strict=True)
    ]


def _prompt(conversation: Conversation) -> list[Piece]:
    return _pieces(conversation, first_supervised=len(conversation.messages))


def _parse(text: str) -> Message:
    before, marker, body = text.partition("[TOOL_CALLS]")
    whole = Message("assistant", text.strip())
    if not marker or before.strip():
        return whole
    try:
        raw = json.loads(body)
    except (ValueError, RecursionError):
        return whole
    calls = [read_call(item, index) for index, item in enumerate(raw if isinstance(raw, list) else [raw])]
    if not calls or None in calls:
        return whole
    return Message("assistant", None, tuple(call for call in calls if call))


# Jinja cannot decode JSON: a result that looks like a JSON object or list is spelled anew character by character, with
# one space after each comma and colon that stands outside of a string, and other text is quoted.
MISTRAL_V3_JINJA = (
    "{%- macro spaced(text) -%}\n"
    "{%- set state = namespace(quoted=false, escaped=false) -%}\n"
    "{%- for place in range(text | length) -%}\n"
    "{%- set char = text[place:place + 1] -%}\n"
    "{%- if state.quoted -%}\n"
    "{{- char -}}\n"
    "{%- if state.escaped -%}{%- set state.escaped = false -%}\n"
    "{%- elif char == '\\\\' -%}{%- set state.escaped = true -%}\n"
    "{%- elif char == '\"' -%}{%- set state.quoted = false -%}{%- endif -%}\n"
    "{%- elif char == '\"' -%}{%- set state.quoted = true -%}{{- char -}}\n"
    "{%- elif char in [',', ':'] -%}{{- char + ' ' -}}\n"
    "{%- elif char not in [' ', '\\n', '\\r', '\\t'] -%}{{- char -}}\n"
    "{%- endif -%}\n"
    "{%- endfor -%}\n"
    "{%- endmacro -%}\n"
    "{%- set persona = messages[0].content if messages and messages[0].role == 'system' else '' -%}\n"
    "{%- set last = namespace(user=-1) -%}\n"
    "{%- for message in messages %}{% if message.role == 'user' %}{% set last.user = loop.index0 %}{% endif %}"
    "{% endfor -%}\n"
    "{{- bos_token -}}\n"
    "{%- for message in messages -%}\n"
    "{%- if message.role == 'user' -%}\n"
    "{%- if loop.index0 == last.user and tools -%}\n"
    "{{- '[AVAILABLE_TOOLS] [' -}}\n"
    "{%- for tool in tools -%}\n"
    "{%- set function = {'name': tool.function.name, 'description': tool.function.description or '', "
    "'parameters': tool.function.parameters or {}} -%}\n"
    "{{- {'type': 'function', 'function': function} | tojson + ('' if loop.last else ', ') -}}\n"
    "{%- endfor -%}\n"
    "{{- '][/AVAILABLE_TOOLS]' -}}\n"
    "{%- endif -%}\n"
    "{{- '[INST] ' + (persona + '\\n\\n' if loop.index0 == last.user and persona else '') -}}\n"
    "{{- message.content + '[/INST]' -}}\n"
    "{%- elif message.role == 'tool' -%}\n"
    "{%- set content = message.content -%}\n"
    "{%- set is_json = content is string and content[:1] in ['{', '['] -%}\n"
    "{{- '[TOOL_RESULTS] {\"content\": ' + (spaced(content) if is_json else content | tojson) -}}\n"
    "{{- ', \"call_id\": \"' + message.tool_call_id + '\"}[/TOOL_RESULTS]' -}}\n"
    "{%- elif message.role == 'assistant' and message.tool_calls -%}\n"
    "{{- '[TOOL_CALLS] [' -}}\n"
    "{%- for call in message.tool_calls -%}\n"
    "{%- set arguments = call.function.arguments -%}\n"
    "{{- '{\"name\": ' + (call.function.name | tojson) + ', \"arguments\": ' -}}\n"
    "{{- arguments if arguments is string else arguments | tojson -}}\n"
    "{{- ', \"id\": \"' + call.id + '\"}' + ('' if loop.last else ', ') -}}\n"
    "{%- endfor -%}\n"
    "{{- ']' + eos_token -}}\n"
    "{%- elif message.role == 'assistant' -%}\n"
    "{{- ' ' + message.content.rstrip(' ') + eos_token -}}\n"
    "{%- endif -%}\n"
    "{%- endfor -%}"
)

MISTRAL_V3 = Template(
    name="mistral-v3",
    version=1,
    jinja=MISTRAL_V3_JINJA,
    stop_token="</s>",
    call_token="[TOOL_CALLS]",
    views=_views,
    prompt=_prompt,
    parse=_parse,
    holds_text_beside_calls=False,
)
