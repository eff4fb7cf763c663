"""The template for SmolLM2: ChatML with the tools first, then the persona, so that rows share the longest prefix."""

from __future__ import annotations

import json
import re
from typing import Any

from weatherman.records import Conversation, Message, ToolCall
from weatherman.rendering.template import Piece, Template, read_call, special, to_json

TOOLS_INTRO = "You can call these tools:\n"
TOOLS_OUTRO = 'To call a tool, answer with only:\n<tool_call>\n{"name": "...", "arguments": {...}}\n</tool_call>\n\n'
_OPEN, _CLOSE = "<tool_call>", "</tool_call>"
_SPACE = re.compile(r"\s*")
_decoder = json.JSONDecoder()


def _turn(role: str, text: str) -> list[Piece]:
    return [special("<|im_start|>"), Piece(f"{role}\n{text}"), special("<|im_end|>"), Piece("\n")]


def _header(role: str) -> list[Piece]:
    return [special("<|im_start|>"), Piece(role + "\n")]


def _reply(message: Message) -> str:
    """What the assistant writes: its text, stripped, then each call, one below the other."""
    text = (message.content or "").strip()
    calls = [
        f"{_OPEN}\n{to_json({'name': call.name, 'arguments': call.arguments})}\n{_CLOSE}" for call in message.tool_calls
    ]
    return "\n".join([text, *calls] if text else calls)


def _pieces(conversation: Conversation) -> list[Piece]:
    messages = list(conversation.messages)
    persona = messages.pop(0).content or "" if messages and messages[0].role == "system" else ""
    tools = "".join(to_json(tool) + "\n" for tool in conversation.tools)
    system = (TOOLS_INTRO + tools + TOOLS_OUTRO if tools else "") + persona
    pieces = _turn("system", system) if system else []
    for message in messages:
        if message.role == "assistant":
            end = special("<|im_end|>", supervised=message.trained)
            pieces += [*_header("assistant"), Piece(_reply(message), supervised=message.trained), end, Piece("\n")]
        else:
            pieces += _turn(message.role, message.content or "")
    return pieces


def _views(conversation: Conversation) -> list[list[Piece]]:
    # The line break after the last turn is nobody's context.
    return [_pieces(conversation)[:-1]]


def _prompt(conversation: Conversation) -> list[Piece]:
    return [*_pieces(conversation), *_header("assistant")]


def _parse(text: str) -> Message:
    begin = text.find(_OPEN)
    calls = _calls(text[begin:]) if begin >= 0 else None
    if not calls:
        return Message("assistant", text.strip())
    return Message("assistant", text[:begin].strip() or None, tuple(calls))


def _calls(text: str) -> list[ToolCall] | None:
    """Read a text that is nothing but calls; JSON decides where each ends, since a value may spell the closing tag."""
    calls: list[ToolCall] = []
    place = 0
    while place < len(text):
        if not text.startswith(_OPEN, place):
            return None
        try:
            raw, place = _decoder.raw_decode(text, _after_space(text, place + len(_OPEN)))
        except (ValueError, RecursionError):
            return None
        place = _after_space(text, place)
        call: Any = read_call(raw, len(calls))
        if call is None or not text.startswith(_CLOSE, place):
            return None
        calls.append(call)
        place = _after_space(text, place + len(_CLOSE))
    return calls


def _after_space(text: str, place: int) -> int:
    match = _SPACE.match(text, place)
    return match.end() if match else place


SMOLLM2_JINJA = (
    "{%- set persona = messages[0].content if messages and messages[0].role == 'system' else '' -%}\n"
    "{%- if tools or persona -%}\n"
    "{{- '<|im_start|>system\\n' -}}\n"
    "{%- if tools -%}\n"
    f"{{{{- {TOOLS_INTRO!r} -}}}}\n"
    "{%- for tool in tools %}{{ tool | tojson + '\\n' }}{% endfor -%}\n"
    f"{{{{- {TOOLS_OUTRO!r} -}}}}\n"
    "{%- endif -%}\n"
    "{{- persona + '<|im_end|>\\n' -}}\n"
    "{%- endif -%}\n"
    "{%- for message in messages if message.role != 'system' -%}\n"
    "{{- '<|im_start|>' + message.role + '\\n' -}}\n"
    "{%- if message.role == 'assistant' -%}\n"
    "{%- set text = (message.content or '') | trim -%}\n"
    "{{- text -}}\n"
    "{%- for call in message.tool_calls or [] -%}\n"
    "{%- if text or not loop.first %}{{ '\\n' }}{% endif -%}\n"
    "{%- set arguments = call.function.arguments -%}\n"
    "{{- '<tool_call>\\n{\"name\": ' + (call.function.name | tojson) + ', \"arguments\": ' -}}\n"
    "{{- arguments if arguments is string else arguments | tojson -}}\n"
    "{{- '}\\n</tool_call>' -}}\n"
    "{%- endfor -%}\n"
    "{%- else -%}\n"
    "{{- message.content or '' -}}\n"
    "{%- endif -%}\n"
    "{{- '<|im_end|>\\n' -}}\n"
    "{%- endfor -%}\n"
    "{%- if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif -%}"
)

SMOLLM2 = Template(
    name="smollm2",
    version=1,
    jinja=SMOLLM2_JINJA,
    stop_token="<|im_end|>",
    call_token=None,
    views=_views,
    prompt=_prompt,
    parse=_parse,
)
