"""Chat and compare: rounds of tool calls, what the model is told, what is shown, and what can never be shown."""

from __future__ import annotations

import io
import json
import shutil
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from adapters_for_tests import random_adapter, tiny_model
from tasks_for_tests import weather_task
from tokenizers_for_tests import mistral, smollm2
from weatherman.chat.chat import MAX_ROUNDS, Chat, TextStream
from weatherman.chat.compare import compare
from weatherman.chat.terminal import Printer, ask_and_print, call_line, converse, safe_text
from weatherman.chat.tool_use import ToolOutcome
from weatherman.errors import WeathermanError
from weatherman.models.adapter import find_adapter
from weatherman.records import Message, ToolCall
from weatherman.rendering.templates import MISTRAL_V3, SMOLLM2
from weatherman.run.newest_adapter import newest_adapter
from weatherman.task.task import Persona, SystemPrompt, Task, ToolSet, task_bytes
from weatherman.tools.by_hand import ByHand
from weatherman.tools.source import ToolError
from weatherman.weather.dataset.personas import wordings
from weatherman.weather.tool_source import WeatherTools
from weatherman.weather.tools import WEATHER_TOOLS

GEOCODE = '<tool_call>\n{"name": "geocode_location", "arguments": {"city": "Oslo"}}\n</tool_call>'
NOW = '<tool_call>\n{"name": "get_current_weather", "arguments": {"latitude": 59.91, "longitude": 10.75}}\n</tool_call>'


@dataclass
class Scripted:
    """A model that says what it is told to, token by token, and remembers its prompts."""

    replies: list[str]
    tokenizer: Any = field(default_factory=smollm2)
    max_tokens: int = 8192
    prompts: list[str] = field(default_factory=list)
    adapters: list[bool] = field(default_factory=list)

    def generate(
        self, prompt: Sequence[int], max_new_tokens: int, on_token: Callable[[int], None], *, adapter: bool = True
    ) -> list[int]:
        self.prompts.append(self.tokenizer.decode(prompt))
        self.adapters.append(adapter)
        ids: list[int] = []
        for part in self.replies.pop(0).split("¦"):
            ids += [self.tokenizer.special(part)] if self.tokenizer.has(part) else self.tokenizer.encode([part])[0]
        for number in ids[:max_new_tokens]:
            on_token(number)
        return ids[:max_new_tokens]


class Fixed:
    """A source with one answer."""

    name, label = "fixed", "fixed"

    def geocode_location(self, city: str, country: str = "") -> dict[str, Any]:
        return {"results": [{"name": city, "latitude": 59.91, "longitude": 10.75}]}

    def get_current_weather(self, latitude: float, longitude: float) -> dict[str, Any]:
        raise ToolError("timeout", "no response after 10 s")

    def get_forecast(self, latitude: float, longitude: float, days: int) -> dict[str, Any]:
        return {"daily": [{}][days]}


def chat(*replies: str, **options: Any) -> tuple[Chat, Scripted]:
    talker = Scripted(list(replies))
    options = {"task": weather_task(), "tools": WEATHER_TOOLS, "source": WeatherTools(Fixed())} | options
    return Chat(talker, SMOLLM2, smollm2(), **options), talker


def test_calls_are_executed_and_their_results_told_to_the_model() -> None:
    talk, talker = chat(GEOCODE, NOW, "It is a mystery.")
    answer = talk.ask("Oslo now?")
    assert answer.text == "It is a mystery."
    assert answer.problem == ""
    assert [(o.call.name, o.valid) for o in answer.outcomes] == [
        ("geocode_location", True),
        ("get_current_weather", True),
    ]
    assert answer.outcomes[1].result == {"error": "timeout", "message": "no response after 10 s"}
    first, second, third = talker.prompts
    assert wordings("twain")[0] in first
    assert first.endswith("<|im_start|>user\nOslo now?<|im_end|>\n<|im_start|>assistant\n")
    assert second.endswith(
        f"{GEOCODE}<|im_end|>\n<|im_start|>tool\n"
        '{"results":[{"name":"Oslo","latitude":59.91,"longitude":10.75}]}<|im_end|>\n<|im_start|>assistant\n'
    )
    assert '<|im_start|>tool\n{"error":"timeout","message":"no response after 10 s"}<|im_end|>' in third
    assert answer.num_tokens == sum(len(smollm2().encode([t])[0]) for t in (GEOCODE, NOW, "It is a mystery."))


@pytest.mark.parametrize(
    ("reply", "error", "word"),
    [
        (GEOCODE.replace("geocode_location", "rm"), "unknown_tool", "no tool 'rm'"),
        (GEOCODE.replace("city", "town"), "invalid_arguments", "town"),
        (NOW.replace("59.91", "99"), "invalid_arguments", "latitude"),
        (GEOCODE.replace("}}", "}"), "unreadable_call", "as JSON"),
        ('<tool_call>\n{"name": "get_forecast", "arguments": {"latitude": 1, "longitude": 2, "days": 3}}\n</tool_call>',
         "bad_response", "could not be read"),
    ],
)  # fmt: skip
def test_wrong_calls_are_told_as_tool_errors(reply: str, error: str, word: str) -> None:
    talk, talker = chat(reply, "Sorry.")
    answer = talk.ask("?")
    (outcome,) = answer.outcomes
    assert outcome.result["error"] == error
    assert word in outcome.result["message"]
    assert outcome.valid == (error == "bad_response")
    assert f'<|im_start|>tool\n{{"error":"{error}"' in talker.prompts[1]
    assert (answer.text, answer.problem) == ("Sorry.", "")


PIRATE = Task(
    (Persona("pirate", 2, (SystemPrompt("Arr.", 2),)), Persona("", 1, (SystemPrompt(None, 1),))),
    (ToolSet(({"type": "function", "function": {"name": "dig", "parameters": {"type": "object"}}},), 3),), ("Gold?",), 3,
)  # fmt: skip
DIG = '<tool_call>\n{"name": "dig", "arguments": {"depth": 2}}\n</tool_call>'


def test_prompt_and_tools_are_those_of_the_task() -> None:
    talk, talker = chat("Arr!", task=PIRATE, tools=PIRATE.tools, source=None)
    assert talk.persona == "pirate"
    assert talk.ask("Gold?").text == "Arr!"
    assert "Arr.<|im_end|>" in talker.prompts[0]
    assert '"name": "dig"' in talker.prompts[0]
    assert "geocode_location" not in talker.prompts[0]


def test_without_a_source_the_call_is_shown_and_the_question_forgotten() -> None:
    talk, talker = chat(DIG, "Arr!", task=PIRATE, tools=PIRATE.tools, source=None)
    stream = io.StringIO()
    assert ask_and_print(talk, "Gold?", Printer(stream, colour=False))
    first, second = stream.getvalue().splitlines()
    assert first == "→ dig(depth=2)"
    assert "--mcp COMMAND" in second
    answer = talk.ask("Hello?")
    assert answer.complete
    assert "Gold?" not in talker.prompts[1]


def test_tools_by_hand_take_what_is_typed() -> None:
    typed, asked = iter(["a chest\n", ""]), []

    def ask(question: str) -> str:
        asked.append(question)
        return next(typed)

    talk, talker = chat(DIG, "Arr!", DIG, "Arr?", task=PIRATE, tools=PIRATE.tools, source=ByHand(PIRATE.tools, ask))
    assert talk.ask("Gold?").outcomes[0].result == "a chest"
    assert "<|im_start|>tool\na chest<|im_end|>" in talker.prompts[1]
    assert talk.ask("More?").outcomes[0].result["error"] == "no_result"
    assert asked == ["dig(depth=2) = "] * 2


def test_figures_that_no_tool_gave_are_told_after_the_answer() -> None:
    assert shown(GEOCODE, "At 59.91 north, 21 degrees.").splitlines()[1:] == [
        "At 59.91 north, 21 degrees.", "(figures no tool gave: 21)",
    ]  # fmt: skip
    talk, _ = chat(GEOCODE, "At 59.91 north.", "It is still 59.9, not 12.")
    assert talk.ask("Where?").to_json()["figures_no_tool_gave"] == []
    assert talk.ask("Still?").figures == ("12",)  # the tool's results of earlier questions count


def test_rounds_are_bounded_and_a_failed_question_is_forgotten() -> None:
    talk, talker = chat(*[GEOCODE] * MAX_ROUNDS, "Fine.")
    answer = talk.ask("first?")
    assert answer.problem == f"no answer after {MAX_ROUNDS} rounds of tool calls"
    assert len(talker.prompts) == MAX_ROUNDS
    assert talk.ask("second?").text == "Fine."
    assert "first?" not in talker.prompts[-1]


def test_conversation_goes_on_and_a_new_persona_begins_anew() -> None:
    talk, talker = chat("Yes.", "No.", "Indeed.")
    talk.ask("one?")
    talk.ask("two?")
    assert "one?<|im_end|>\n<|im_start|>assistant\nYes.<|im_end|>" in talker.prompts[1]
    talk.switch("satire")
    talk.ask("three?")
    assert "one?" not in talker.prompts[2]
    assert wordings("satire")[0] in talker.prompts[2]
    with pytest.raises(WeathermanError, match="has no persona 'poe'") as caught:
        talk.switch("poe")
    assert caught.value.hint == "choose one of twain, franklin, satire, neutral."


def test_long_answers_and_long_conversations() -> None:
    talk, _ = chat("word " * 50, max_new_tokens=10)
    assert talk.ask("?").problem == "the answer was cut after 10 tokens"
    talk, talker = chat("x")
    talker.max_tokens = 500
    with pytest.raises(WeathermanError, match="the model reads 500") as caught:
        talk.ask("long " * 200)
    assert caught.value.hint == "begin a new one: /new"
    talker.max_tokens = 8192
    assert talk.ask("short").text == "x"
    assert chat("")[0].ask("?").problem == "the model said nothing"


def test_mistral_calls() -> None:
    talker = Scripted(
        ['[TOOL_CALLS]¦[{"name": "geocode_location", "arguments": {"city": "Oslo"}, "id": "abc123XYZ"}]', "There."],
        tokenizer=mistral(),
    )
    told = (weather_task(), WEATHER_TOOLS, WeatherTools(Fixed()))
    talk = Chat(talker, MISTRAL_V3, mistral(), *told)
    answer = talk.ask("Where is Oslo?")
    assert (answer.text, answer.outcomes[0].call.id) == ("There.", "abc123XYZ")
    assert '"call_id": "abc123XYZ"' in talker.prompts[1]
    broken = Chat(Scripted(["[TOOL_CALLS]¦[{"], tokenizer=mistral()), MISTRAL_V3, mistral(), *told)
    assert broken.ask("?").problem == "the model wrote a tool call that cannot be read"


# --- what is shown --------------------------------------------------------------------------------------------------


def shown(*replies: str, question: str = "?") -> str:
    talk, _ = chat(*replies)
    stream = io.StringIO()
    ask_and_print(talk, question, Printer(stream, colour=False))
    return stream.getvalue()


def test_text_and_calls_are_printed_once_and_in_order() -> None:
    assert shown("Let me see.\n" + GEOCODE, "Cold.") == (
        'Let me see.\n→ geocode_location(city="Oslo") = {"results":[{"name":"Oslo","latitude":59.91,"longitude":10.75}]}\n'
        "Cold.\n"
    )
    lines = shown(GEOCODE.replace("city", "town"), "Hm.").splitlines()
    assert lines[0].startswith('✗ invalid call: geocode_location(town="Oslo") = {"error":"invalid_arguments"')
    assert lines[1] == "Hm."


def test_nothing_a_model_or_a_service_says_moves_the_cursor() -> None:
    assert shown("a\x1b[J\rb\u202ec\n✅ SUCCESS: d") == "a\\x1b[J\\rb\\u202ec\n✅ SUCCESS: d\n"
    call = ToolCall("1", "geocode_location", {"city": "\x1b[31m\n"})
    line = call_line(ToolOutcome(call, {"error": "\x07" + "x" * 999}, True))
    assert "\x1b" not in line
    assert "\n" not in line
    assert "\x07" not in line
    assert len(line) < 520


@given(st.text(st.characters(codec="utf-8", exclude_categories=("Cs", "Cn", "Co")), max_size=60))
def test_a_stream_tells_every_text_whole(text: str) -> None:
    told: list[str] = []
    stream = TextStream(smollm2(), told.append)
    ids = smollm2().encode([text])[0]
    for number in ids:
        stream.token(number)
    stream.end()
    assert "".join(told) == smollm2().decode(ids)


def test_a_stream_holds_back_what_may_become_a_call() -> None:
    told: list[str] = []
    stream = TextStream(smollm2(), told.append)
    for number in smollm2().encode(["So: <tool"])[0]:
        stream.token(number)
    assert "".join(told) == "So: "
    for number in smollm2().encode(['_call>\n{"name": '])[0]:
        stream.token(number)
    stream.end()
    assert "".join(told) == "So: "
    assert safe_text("é\n☔") == "é\n☔"


def test_commands_of_the_terminal() -> None:
    talk, talker = chat("A.", "B.", "C.")
    stream = io.StringIO()
    lines = ["one", "", "/persona neutral", "/persona poe", "two", "/new", "/what", "three", "/quit", "never"]
    assert converse(talk, lines, Printer(stream, colour=False))
    assert stream.getvalue().splitlines() == [
        "A.", "neutral speaks now", "(this adapter has no persona 'poe'. Hint: choose one of twain, franklin, satire, neutral.)",
        "B.", "a new conversation", "/persona twain|franklin|satire|neutral, /new (forget this conversation), /quit", "C.",
    ]  # fmt: skip
    assert wordings("neutral")[0] in talker.prompts[2]
    assert "two" not in talker.prompts[2]
    failing, _ = chat("", "B.")
    assert not converse(failing, ["one", "two"], Printer(io.StringIO(), colour=True))


def test_compare_asks_both_the_same() -> None:
    talk, talker = chat("base 1", "adapter 1", "base 2", "adapter 2")
    pairs = compare(talk, ["q?"], ["franklin", "satire"])
    assert [(p.persona, p.without.text, p.with_adapter.text) for p in pairs] == [
        ("franklin", "base 1", "adapter 1"),
        ("satire", "base 2", "adapter 2"),
    ]
    assert talker.adapters == [False, True, False, True]
    assert talker.prompts[0] == talker.prompts[1] != talker.prompts[2]
    assert pairs[0].to_json()["with"]["answer"] == "adapter 1"


# --- adapters and the command line ----------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run's folder with an adapter on a tiny random model."""
    root = tmp_path_factory.mktemp("chat")
    base = tiny_model(root / "base")
    adapter = random_adapter(root / "runs" / "tiny" / "adapter", str(base), strength=0.5)
    (adapter / "task.json").write_bytes(task_bytes(weather_task()))
    return root / "runs" / "tiny"


def test_adapter_is_found(run: Path, tmp_path: Path) -> None:
    assert find_adapter(run) == find_adapter(run / "adapter") == find_adapter(newest_adapter(run.parent))
    assert find_adapter(run).base_model == str(run.parents[1] / "base")
    with pytest.raises(WeathermanError, match="no finished run") as caught:
        newest_adapter(tmp_path)
    assert caught.value.hint == "make train, or name a folder: --adapter DIR"
    with pytest.raises(WeathermanError, match="holds no adapter"):
        find_adapter(tmp_path)
    other = tmp_path / "adapter"
    other.mkdir()
    (other / "adapter_model.safetensors").write_bytes(b"")
    (other / "adapter_config.json").write_text(
        '{"base_model_name_or_path": "/elsewhere/models/smollm2-135m-instruct-0123"}'
    )
    assert find_adapter(other).base_model == "smollm2-135m-instruct"
    (other / "adapter_config.json").write_text("{}")
    with pytest.raises(WeathermanError, match="does not name its base model"):
        find_adapter(other)


def weatherman(run: Path, *arguments: str, stdin: str = "") -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "weatherman.cli", *arguments, "--device", "cpu"]
    return subprocess.run(command, capture_output=True, text=True, cwd=run.parents[1], input=stdin, check=False)


def test_command_line(run: Path) -> None:
    options = ("--max-new-tokens", "6", "--json")
    done = weatherman(run, "chat", "--once", "Fog?", "--persona", "satire", *options)
    found = json.loads(done.stdout)
    assert (found["question"], found["persona"], found["tool_source"]) == ("Fog?", "satire", "made-up")
    assert found["adapter"] == "runs/tiny/adapter"
    assert found["problem"] == "the answer was cut after 6 tokens"
    assert done.returncode == 1


def test_chat_takes_persona_and_tools_of_the_adapter(run: Path, tmp_path: Path) -> None:
    """A downloaded adapter, without its run, speaks as it learned; one without a task says so and speaks plainly."""
    own = tmp_path / "runs" / "own"
    shutil.copytree(run / "adapter", own)
    (own / "task.json").write_bytes(task_bytes(PIRATE))
    options = ("--adapter", str(own), "--once", "Gold?", "--max-new-tokens", "6", "--json")
    done = weatherman(own, "chat", *options)
    found = json.loads(done.stdout)
    assert (found["persona"], found["tool_source"], done.stderr) == ("pirate", None, "")
    refused = weatherman(own, "chat", *options, "--persona", "twain")
    assert refused.stdout == "❌ ERROR: this adapter has no persona 'twain'. Hint: choose one of pirate.\n"
    (own / "task.json").unlink()
    old = weatherman(own, "chat", *options)
    assert json.loads(old.stdout)["persona"] == ""
    assert "has no task.json (it was made by an older version)" in old.stderr


def test_chat_with_a_server_on_the_command_line(run: Path) -> None:
    server = f"{sys.executable} {Path(__file__).parents[1] / 'support' / 'mcp_server.py'}"
    done = weatherman(run, "chat", "--once", "Fog?", "--mcp", server, "--max-new-tokens", "4")
    assert f"· twain · tools: MCP server {server}" in done.stdout
    assert done.stderr.splitlines() == [
        "(Trained, but not offered: geocode_location, get_current_weather, get_forecast.)",
        "(Offered, but not trained: add, fail, wait, die, draw.)",
    ]


@pytest.mark.slow
def test_compare_on_the_command_line(run: Path) -> None:
    done = weatherman(run, "compare", "Fog?", "--max-new-tokens", "6", "--json")
    (pair,) = json.loads(done.stdout)["compared"]
    assert (done.returncode, pair["question"], pair["persona"]) == (0, "Fog?", "twain")
    assert pair["without"]["answer"] != pair["with"]["answer"]
    done = weatherman(run, "compare", "Fog?", "--max-new-tokens", "6")
    assert "base model" in done.stdout
    assert "with the adapter" in done.stdout


@pytest.mark.slow
def test_terminal_output_says_that_the_weather_is_made_up(run: Path) -> None:
    done = weatherman(run, "chat", "--max-new-tokens", "4", stdin="Fog?\n/quit\n")
    lines = done.stdout.splitlines()
    assert "made up for the place and the season (offline); not the real weather" in lines[0]
    assert lines[-1] == "(the answer was cut after 4 tokens)"
    assert done.returncode == 1


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--persona", "poe"), "this adapter has no persona 'poe'"),
        (("--live", "--tools-by-hand"), "--mcp, --live and --tools-by-hand exclude each other"),
        (("--mcp", "no-such-server"), "the MCP server no-such-server does not start: [Errno 2]"),
        (("--adapter", "nowhere"), "nowhere holds no adapter"),
    ],
)
def test_wrong_options_are_told_before_anything_is_loaded(run: Path, arguments: tuple[str, ...], message: str) -> None:
    done = weatherman(run, "chat", "--once", "?", *arguments)
    assert done.returncode == 1
    assert done.stdout.startswith(f"❌ ERROR: {message}")


def test_reply_messages_are_what_training_reads() -> None:
    outcome = ToolOutcome(ToolCall("x", "geocode_location", {}), {"results": []}, True)
    assert outcome.to_message() == Message("tool", '{"results":[]}', (), "x")
