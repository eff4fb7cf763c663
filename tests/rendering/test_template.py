"""The templates against independent encoders: mistral-common, and transformers' Jinja."""

from __future__ import annotations

import hashlib
import json
import re
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from mistral_common.protocol.instruct.request import ChatCompletionRequest

from jinja_text import jinja_text
from strategies import PLAIN_TEXT, RESULTS, rows
from tokenizers_for_tests import mistral, mistral_reference, smollm2, smollm2_folder
from weatherman.data.read import read_conversations
from weatherman.data.validate import validate_row
from weatherman.errors import WeathermanError
from weatherman.records import Conversation, Message, ToolCall
from weatherman.rendering.render import prompt_ids, render, render_all
from weatherman.rendering.templates import MISTRAL_V3, SMOLLM2, TEMPLATES, Template, choose_template
from weatherman.system.fingerprint import hash_text
from weatherman.weather.tools import WEATHER_TOOLS

DATA = Path(__file__).parents[2] / "data" / "synthetic" / "final_validation.jsonl"

many = settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])

EXAMPLE: list[dict[str, Any]] = [
    {"role": "system", "content": "You are dry."},
    {"role": "user", "content": "Rain in Oslo?"},
    {
        "role": "assistant",
        "content": None,
        "tool_calls": [
            {
                "id": "abc123XYZ",
                "type": "function",
                "function": {"name": "geocode_location", "arguments": '{"city": "Oslo"}'},
            }
        ],
    },
    {"role": "tool", "tool_call_id": "abc123XYZ", "content": '{"latitude": 59.9, "longitude": 10.7}'},
    {"role": "assistant", "content": "Yes, and wet."},
    {"role": "user", "content": "Tomorrow?"},
    {"role": "assistant", "content": "Wetter."},
]


def conversation(row: dict[str, Any]) -> Conversation:
    valid, problems = validate_row(row, "row:1")
    assert not problems
    assert valid is not None
    return valid


def example() -> Conversation:
    return conversation({"messages": EXAMPLE, "tools": list(WEATHER_TOOLS)})


# The property tests spell control tokens in data on purpose.
MISTRAL_TEXT, SMOLLM2_TEXT = replace(MISTRAL_V3, control_tokens="text"), replace(SMOLLM2, control_tokens="text")


def view_texts(whole: Conversation, template: Template) -> list[str]:
    """The views as their tokens spell them."""
    tokenizer = smollm2() if template.name == "smollm2" else mistral()
    return [tokenizer.decode(view.ids.tolist()) for view in render(whole, template, tokenizer)]


def supervised(whole: Conversation, template: Template, view: int = 0) -> str:
    """The supervised tokens of a view, spelled."""
    tokenizer = smollm2() if template.name == "smollm2" else mistral()
    example = render(whole, template, tokenizer)[view]
    return tokenizer.decode(example.ids[example.mask].tolist())


# --- Mistral v3 against mistral-common ------------------------------------------------------------------------------


def reference_ids(messages: list[dict[str, Any]], tools: list[dict[str, Any]] | None) -> list[int]:
    """mistral-common's tokens for a conversation that ends with the assistant."""
    request = ChatCompletionRequest.from_openai(messages=messages, tools=tools)
    # The reference encodes requests, which end with the user or a tool: the last reply is appended as it encodes it.
    last = request.messages.pop()
    encoder = mistral_reference()
    ids = list(encoder.encode_chat_completion(request).tokens)
    return ids + encoder.instruct_tokenizer.encode_assistant_message(last, is_before_last_user_message=False)


@given(rows())
@many
def test_mistral_equals_the_reference_token_by_token_in_every_view(row: dict[str, Any]) -> None:
    messages = row["messages"]
    ends = [*[i for i, message in enumerate(messages) if message["role"] == "user"][1:], len(messages)]
    views = render(conversation(row), MISTRAL_TEXT, mistral())
    expected = [reference_ids(messages[:end], row.get("tools")) for end in ends]
    # Without tools and persona nothing moves: what the first turns see is the beginning of what the later ones see.
    apart = [one for one in expected if not any(other[: len(one)] == one and other is not one for other in expected)]
    assert [view.ids.tolist() for view in views] == apart


@given(rows())
@many
def test_mistral_prompt_is_what_the_reference_sends(row: dict[str, Any]) -> None:
    whole = conversation(row)
    for end in (i for i, message in enumerate(row["messages"]) if message["role"] == "assistant"):
        request = ChatCompletionRequest.from_openai(messages=row["messages"][:end], tools=row.get("tools"))
        expected = mistral_reference().encode_chat_completion(request).tokens
        assert prompt_ids(Conversation(whole.messages[:end], whole.tools), MISTRAL_TEXT, mistral()) == expected


@given(rows(PLAIN_TEXT, RESULTS))
@many
def test_mistral_jinja_spells_what_the_reference_encodes(row: dict[str, Any]) -> None:
    spelled = jinja_text(MISTRAL_V3.jinja, decoded(row["messages"]), row.get("tools"))
    ids: list[int] = []
    for part in re.split(r"(</?s>|\[/?(?:INST|AVAILABLE_TOOLS|TOOL_CALLS|TOOL_RESULTS)\])", spelled):
        # The space that follows a control token in the text is the one with which SentencePiece begins every text.
        ids += [mistral().special(part)] if mistral().has(part) else mistral().encode([part.removeprefix(" ")])[0]
    assert ids == reference_ids(row["messages"], row.get("tools"))


def test_mistral_replaces_call_ids_it_does_not_take() -> None:
    row = json.loads(json.dumps({"messages": EXAMPLE, "tools": list(WEATHER_TOOLS)}).replace("abc123XYZ", "call_1"))
    text = view_texts(conversation(row), MISTRAL_V3)[0]
    assert "call_1" not in text
    assert f'"id": "{hash_text("call_1")[:9]}"' in text
    assert f'"call_id": "{hash_text("call_1")[:9]}"' in text


def test_mistral_refuses_text_beside_calls() -> None:
    call = ToolCall("abc123XYZ", "geocode_location", {"city": "Oslo"})
    reply = Message("assistant", "Let me see.", (call,))
    both = Conversation((Message("user", "?"), reply), WEATHER_TOOLS, {}, "x.jsonl:3")
    with pytest.raises(WeathermanError, match=r"x\.jsonl:3: the mistral-v3 template cannot hold text and tool calls"):
        render(both, MISTRAL_V3, mistral())


def test_mistral_has_one_view_per_user_turn_with_the_tools_before_its_last() -> None:
    first, second = view_texts(example(), MISTRAL_V3)
    assert first.startswith("<s>[AVAILABLE_TOOLS]")
    assert first.endswith("[/TOOL_RESULTS]Yes, and wet.</s>")
    assert second.startswith("<s>[INST]Rain in Oslo?[/INST][TOOL_CALLS]")
    assert second.endswith("[/AVAILABLE_TOOLS][INST]You are dry.\n\nTomorrow?[/INST]Wetter.</s>")
    assert supervised(example(), MISTRAL_V3, view=1) == "Wetter.</s>"


# --- SmolLM2 against transformers -----------------------------------------------------------------------------------


def decoded(messages: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The messages with call arguments as objects, as transformers wants them."""
    copy: list[dict[str, Any]] = json.loads(json.dumps(messages))
    for message in copy:
        for call in message.get("tool_calls") or []:
            call["function"]["arguments"] = json.loads(call["function"]["arguments"])
    return copy


@pytest.fixture(scope="module")
def hf_smollm2() -> Any:
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(smollm2_folder())


@given(rows())
@many
def test_smollm2_jinja_gives_the_same_text(row: dict[str, Any]) -> None:
    whole = conversation(row)
    text = jinja_text(SMOLLM2.jinja, decoded(row["messages"]), row.get("tools"))
    assert [text.removesuffix("\n")] == view_texts(whole, SMOLLM2_TEXT)
    prompt = jinja_text(SMOLLM2.jinja, decoded(row["messages"][:-1]), row.get("tools"), add_generation_prompt=True)
    ids = prompt_ids(Conversation(whole.messages[:-1], whole.tools), SMOLLM2_TEXT, smollm2())
    assert prompt == smollm2().decode(ids)


def test_smollm2_jinja_gives_the_same_tokens_in_transformers(hf_smollm2: Any) -> None:
    @given(rows(PLAIN_TEXT, RESULTS))
    @many
    def check(row: dict[str, Any]) -> None:
        whole = conversation(row)
        (view,) = render(whole, SMOLLM2, smollm2())
        options = {"chat_template": SMOLLM2.jinja, "return_dict": False, "tools": row.get("tools")}
        ids = hf_smollm2.apply_chat_template(decoded(row["messages"]), **options)
        line_break = smollm2().encode(["\n"])[0]
        assert list(ids) == [*view.ids.tolist(), *line_break]
        prompt = hf_smollm2.apply_chat_template(decoded(row["messages"][:-1]), add_generation_prompt=True, **options)
        assert list(prompt) == prompt_ids(Conversation(whole.messages[:-1], whole.tools), SMOLLM2, smollm2())

    check()


def test_smollm2_puts_tools_before_the_persona_and_text_before_calls() -> None:
    (text,) = view_texts(example(), SMOLLM2)
    assert text.startswith(
        '<|im_start|>system\nYou can call these tools:\n{"type": "function", "function": {"name": "geo'
    )
    assert text.index("get_forecast") < text.index("You are dry.<|im_end|>") < text.index("Rain in Oslo?")
    calls = (ToolCall("a", "f", {"x": 1}), ToolCall("b", "g", {}))
    both = Conversation((Message("user", "?"), Message("assistant", " Let me see. ", calls)))
    assert supervised(both, SMOLLM2) == (
        'Let me see.\n<tool_call>\n{"name": "f", "arguments": {"x": 1}}\n</tool_call>\n'
        '<tool_call>\n{"name": "g", "arguments": {}}\n</tool_call><|im_end|>'
    )
    blank = Conversation((Message("user", "?"), Message("assistant", " ", calls[:1])))
    assert supervised(blank, SMOLLM2).startswith("<tool_call>")


def test_rows_of_one_persona_share_the_prefix_byte_for_byte() -> None:
    system = EXAMPLE[0]
    for template in (SMOLLM2,):
        texts = [
            view_texts(conversation({"messages": [system, *turns], "tools": list(WEATHER_TOOLS)}), template)[0]
            for turns in (EXAMPLE[1:], EXAMPLE[5:])
        ]
        end = texts[0].index("Rain in Oslo?")
        assert texts[0][:end] == texts[1][:end]
        assert end > 1000


# --- both -----------------------------------------------------------------------------------------------------------


def fingerprint(template: Template, conversations: list[Conversation]) -> str:
    """SHA-256 over ids and masks of every view, in order."""
    tokenizer = smollm2() if template.name == "smollm2" else mistral()
    digest = hashlib.sha256()
    for views in render_all(conversations, template, tokenizer):
        for view in views:
            digest.update(view.ids.astype("<i4").tobytes() + view.mask.astype(np.uint8).tobytes())
    return digest.hexdigest()


def test_the_version_is_raised_when_the_tokens_change() -> None:
    """Runs and caches know a template by its hash: whoever changes these tokens raises `version`, then these hashes.

    The tokens are those of the pieces that once stood in the place of the Jinja texts; rows are read since with one
    spelling of numbers in tool results (26.0 is 26), as every server's template spells them.
    """
    shipped = list(islice(read_conversations(DATA), 60))
    assert {name: (t.version, fingerprint(t, [example(), *shipped])[:12]) for name, t in TEMPLATES.items()} == {
        "smollm2": (1, "00bb8f067438"),
        "mistral-v3": (1, "7cee526e89a3"),
    }
    assert (SMOLLM2.hash[:12], MISTRAL_V3.hash[:12]) == ("3abf9d3c1c53", "fd97a0010e1d")


@pytest.mark.parametrize(
    "text",
    [
        "<tool_call>\n{broken\n</tool_call>",
        '<tool_call>\n{"name": "f", "arguments": {}}',
        '<tool_call>\n{"name": "f", "arguments": {}}\n</tool_call> and more',
        '<tool_call>\n{"name": "f", "arguments": "{}"}\n</tool_call>',
        '<tool_call>\n{"name": "f", "arguments": {}}\n</tool_call>\n<tool_call>\n{}\n</tool_call>',
        "[TOOL_CALLS] [1]",
        "[TOOL_CALLS] []",
        "[TOOL_CALLS] {",
        'So: [TOOL_CALLS] [{"name": "f", "arguments": {}}]',
        "[" * 100_000,
        "<tool_call>" + "[" * 100_000,
        "Fog.",
        "",
    ],
)
def test_ill_formed_calls_are_text(text: str) -> None:
    for template in TEMPLATES.values():
        assert template.parse is not None
        assert template.parse(text) == Message("assistant", text)


def test_calls_are_read_with_the_text_before_them_and_tags_in_their_values() -> None:
    text = (
        'Hm.\n<tool_call> {"name": "f", "arguments": {"x": "</tool_call>"}}\n</tool_call>\n\n<tool_call>{"name": "g", '
    )
    text += '"arguments": {}, "id": "abc123XYZ"}</tool_call>'
    calls = (ToolCall("call00000", "f", {"x": "</tool_call>"}), ToolCall("abc123XYZ", "g", {}))
    assert SMOLLM2.parse(text) == Message("assistant", "Hm.", calls)
    single = Message("assistant", None, calls[:1])
    assert MISTRAL_V3.parse('[TOOL_CALLS] {"name": "f", "arguments": {"x": "</tool_call>"}}') == single


def test_template_is_chosen_by_the_vocabulary() -> None:
    assert choose_template("auto", mistral().has) is MISTRAL_V3
    assert choose_template("auto", smollm2().has) is SMOLLM2
    assert choose_template("smollm2", mistral().has) is SMOLLM2
    with pytest.raises(WeathermanError, match="no chat template fits") as caught:
        choose_template("auto", lambda _: False)
    assert caught.value.hint == "set chat_template: smollm2 or mistral-v3."
    assert SMOLLM2.hash != MISTRAL_V3.hash
    assert len(SMOLLM2.hash) == 64


def test_the_loss_mask_holds_every_assistant_turn_with_its_stop_and_nothing_else() -> None:
    vocabulary, whole = smollm2(), example()
    view = render(whole, SMOLLM2, vocabulary)[-1]
    held, left = (vocabulary.decode(view.ids[mask].tolist()) for mask in (view.mask, ~view.mask))
    turns = [message for message in whole.messages if message.role == "assistant"]
    assert held.count("<|im_end|>") == len(turns)
    for message in whole.messages:
        if message.role == "assistant":
            assert (message.content or "") in held
            assert all(call.name in held for call in message.tool_calls)
        else:
            assert (message.content or "") in left
    assert left.count("<|im_start|>assistant") == len(turns)
    assert 0 < view.mask.sum() < len(view.ids)


def test_texts_are_not_forgotten_while_they_are_needed(monkeypatch: pytest.MonkeyPatch) -> None:
    shipped = list(islice(read_conversations(DATA), 40))
    wanted = [view.ids.tolist() for views in render_all(shipped, MISTRAL_V3, mistral()) for view in views]
    monkeypatch.setattr("weatherman.rendering.encode._MAX_REMEMBERED_TEXTS", 1)
    fresh = replace(MISTRAL_V3, version=99)  # one that nothing was learnt for
    assert [view.ids.tolist() for views in render_all(shipped, fresh, mistral()) for view in views] == wanted
