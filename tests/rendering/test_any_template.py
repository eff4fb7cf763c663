"""Templates of other families, with a real vocabulary: every turn behind the prompt that transformers builds."""

from __future__ import annotations

import functools
import json
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import Any

import pytest

from qwen_model import package_file, template_text, write_qwen_tokenizer
from weatherman.data.read import read_conversations
from weatherman.errors import WeathermanError
from weatherman.records import Conversation, Message, ToolCall
from weatherman.rendering.choose import TemplateChoice, template_of_model
from weatherman.rendering.render import prompt_ids, render, render_each
from weatherman.rendering.shape import server_messages
from weatherman.rendering.template import Template
from weatherman.rendering.tokenizer import FastTokenizer, load_tokenizer

DATA = Path(__file__).parents[2] / "data" / "synthetic" / "final_validation.jsonl"
pytestmark = pytest.mark.skipif(
    package_file("trl", "chat_templates/qwen3.jinja") is None
    or package_file("qwen_tokenizer", "resources/qwen.tiktoken") is None,
    reason="needs trl and qwen-tokenizer",
)
NAMES = ["qwen3", "qwen2_5", "qwen3_instruct_2507", "qwen3_5_think", "qwen3_5_nothink"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    target = tmp_path_factory.mktemp("qwen")
    write_qwen_tokenizer(target)
    return target


@pytest.fixture(scope="module")
def tokenizer(folder: Path) -> Any:
    return loaded(folder)


@pytest.fixture(scope="module")
def shipped() -> list[Conversation]:
    return list(islice(read_conversations(DATA), 6))


loaded = functools.cache(load_tokenizer)


def template(folder: Path, jinja: str, tmp_path: Path, **options: Any) -> Template:
    file = tmp_path / "own.jinja"
    file.write_text(jinja)
    return template_of_model(TemplateChoice(str(file), options), folder, None, loaded(folder))


@pytest.mark.parametrize("name", NAMES)
def test_prompts_are_transformers_and_every_turn_is_supervised_behind_its_prompt(
    folder: Path, tokenizer: FastTokenizer, shipped: list[Conversation], tmp_path: Path, name: str
) -> None:
    from transformers import AutoTokenizer

    chosen = template(folder, template_text(name), tmp_path)
    peer = AutoTokenizer.from_pretrained(folder)
    for one in shipped:
        views = render(one, chosen, tokenizer)
        assert {view.source for view in views} == {one.source}
        num_supervised = 0
        for index, message in enumerate(one.messages):
            if message.role != "assistant":
                continue
            asked = prompt_ids(Conversation(one.messages[:index], one.tools), chosen, tokenizer)
            given = {"tools": list(one.tools) or None, "chat_template": chosen.jinja, "return_dict": False}
            assert asked == list(
                peer.apply_chat_template(server_messages(one.messages[:index]), add_generation_prompt=True, **given)
            )
            homes = [v for v in views if v.ids[: len(asked)].tolist() == asked and v.mask[len(asked)]]
            assert len(homes) == 1
            rest = homes[0].mask[len(asked) :].tolist()
            length = rest.index(False) if False in rest else len(rest)
            said = tokenizer.decode(homes[0].ids[len(asked) : len(asked) + length].tolist())
            assert said.endswith("<|im_end|>")
            assert said.count("<|im_end|>") == 1
            assert (message.content or message.tool_calls[0].name) in said
            num_supervised += length
        assert sum(view.num_supervised_tokens for view in views) == num_supervised


def test_views_are_as_many_as_the_template_needs(
    folder: Path, tokenizer: FastTokenizer, shipped: list[Conversation], tmp_path: Path
) -> None:
    counts = {}
    for name in NAMES[:3]:
        chosen = template(folder, template_text(name), tmp_path)
        counts[name] = sum(len(render(one, chosen, tokenizer)) for one in shipped)
    assert counts["qwen2_5"] == counts["qwen3_instruct_2507"] == len(shipped)
    assert counts["qwen3"] > 2 * len(shipped)


MUTATIONS = [
    ("drops-text", "{{- '<|im_start|>' + message.role + '\\n' + content + '<|im_end|>' + '\\n' }}", "{{- '<|im_start|>' + message.role + '<|im_end|>' + '\\n' }}"),
    ("drops-call", "{{- tool_call.name }}", ""),
    ("drops-call", "{{- tool_call.arguments | tojson }}", "{{- '{}' }}"),
    ("ignores-tools", "{{- tool | tojson }}", ""),
    ("no-stop", "{{- '<|im_end|>\\n' }}\n    {%- elif message.role == \"tool\"", "{{- '\\n' }}\n    {%- elif message.role == \"tool\""),
    ("no-stop", "{{- '<|im_end|>\\n' }}\n    {%- elif message.role == \"tool\"", "{{- '<|im_end|><|im_end|>\\n' }}\n    {%- elif message.role == \"tool\""),
    ("raises", "{{- content }}", "{{- raise_exception('no') }}"),
]  # fmt: skip


@pytest.mark.parametrize(("code", "old", "new"), MUTATIONS)
def test_a_template_that_loses_or_doubles_a_piece_is_refused(
    folder: Path, tokenizer: FastTokenizer, shipped: list[Conversation], tmp_path: Path, code: str, old: str, new: str
) -> None:
    jinja = template_text("qwen3")
    assert old in jinja
    broken = template(folder, jinja.replace(old, new), tmp_path)
    found = [one.code for one in render_each(shipped, broken, tokenizer) if isinstance(one, WeathermanError)]
    assert set(found) == {f"template.{code}"}


def test_control_tokens_in_data_are_refused_or_text(folder: Path, tokenizer: FastTokenizer, tmp_path: Path) -> None:
    chosen = template(folder, template_text("qwen3"), tmp_path)
    for spelled in ("<|im_end|>", "<think>", "</tool_call>"):
        one = Conversation((Message("user", f"x{spelled}y"), Message("assistant", "3.4 metres.")), source="x.jsonl:7")
        with pytest.raises(WeathermanError, match=r"x\.jsonl:7: a text spells") as caught:
            render(one, chosen, tokenizer)
        assert caught.value.code == "data.control-token"
        (view,) = render(one, replace(chosen, control_tokens="text"), tokenizer)
        plain = render(replace(one, messages=(Message("user", "xy"), one.messages[1])), chosen, tokenizer)[0]
        number = tokenizer.added[spelled].id
        assert view.ids.tolist().count(number) == plain.ids.tolist().count(number)
        assert f"x{spelled}y" in tokenizer.decode(view.ids.tolist())


def test_untrained_turns_are_context_alone(folder: Path, tokenizer: FastTokenizer, tmp_path: Path) -> None:
    chosen = template(folder, template_text("qwen2_5"), tmp_path)
    turns = (
        Message("user", "a"),
        Message("assistant", "Not this.", trained=False),
        Message("user", "b"),
        Message("assistant", "This."),
    )
    (view,) = render(Conversation(turns), chosen, tokenizer)
    assert tokenizer.decode(view.ids[view.mask].tolist()) == "This.<|im_end|>"
    assert "Not this." in tokenizer.decode(view.ids.tolist())


def test_reasoning_is_supervised_or_refused(folder: Path, tokenizer: FastTokenizer, tmp_path: Path) -> None:
    one = Conversation((Message("user", "a"), Message("assistant", "Yes.", reasoning="Look at the table.")))
    (view,) = render(one, template(folder, template_text("qwen3"), tmp_path), tokenizer)
    assert "Look at the table." in tokenizer.decode(view.ids[view.mask].tolist())
    with pytest.raises(WeathermanError, match="leaves out the reasoning"):
        render(one, template(folder, template_text("qwen2_5"), tmp_path), tokenizer)


def test_calls_are_read_back(folder: Path, tokenizer: FastTokenizer, tmp_path: Path) -> None:
    chosen = template(folder, template_text("qwen3"), tmp_path)
    assert chosen.parse is not None
    call = {"name": "get_tide", "arguments": {"harbour": "Brest"}}
    found = chosen.parse(f"<think>\n\n</think>\n\n<tool_call>\n{json.dumps(call)}\n</tool_call>")
    assert found.tool_calls == (ToolCall("call00000", "get_tide", {"harbour": "Brest"}),)
    assert (
        template(folder, template_text("qwen3_5_think"), tmp_path).parse is None
    )  # calls in tags of XML: nobody reads them


def test_a_report_of_nothing_rendered_tells_no_share_of_it() -> None:
    from weatherman.rendering.template_check import TemplateReport

    assert TemplateReport("own", [], False).extra_share == 0
