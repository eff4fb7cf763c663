"""What a run shows for its effect: scores judged against the tools' schemas, kept across attempts, printed in order."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from weatherman.config.schema import TrainingConfig
from weatherman.effect.effect import EFFECT_FILE, Effect, measure_effect, read_effects, report_effect
from weatherman.effect.evaluation import (
    Sample,
    ToolScore,
    answer_samples,
    sample_prompts,
    score_tool_calls,
    tool_prompts,
    valid_call,
)
from weatherman.records import Conversation, Message, ToolCall
from weatherman.task.collect import collect_task
from weatherman.task.task import Task

TOOL = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "parameters": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
    },
}
CALL = ToolCall("call00001", "get_weather", {"city": "Oslo"})


def conversation(persona: str, *, calls: bool = True) -> Conversation:
    first = Message("assistant", None, (CALL,)) if calls else Message("assistant", "No.")
    rest = (Message("tool", "{}", (), CALL.id), Message("assistant", "Wet.")) if calls else ()
    head = (Message("system", f"You are {persona}."), Message("user", f"Rain, {persona}?"))
    return Conversation((*head, first, *rest), (TOOL,), {"persona": persona})


class FakeEngine:
    """Answers with the ids it is given: the index of a scripted reply."""

    def __init__(self, replies: Sequence[int]) -> None:
        self.replies, self.asked = list(replies), 0

    def generate(
        self, prompts: Sequence[Sequence[int]], max_new_tokens: int, *, adapter: bool = True
    ) -> list[list[int]]:
        self.asked += len(prompts)
        return [[self.replies.pop(0)] for _ in prompts]

    def evaluate(self, examples: Any, progress: Any = None, *, adapter: bool = True) -> Any:
        return SimpleNamespace(loss=1.0 if adapter else 2.0)


REPLIES = [
    Message("assistant", None, (CALL,)),
    Message("assistant", None, (ToolCall("x", "get_weather", {"town": "Oslo"}),)),
    Message("assistant", None, (ToolCall("x", "unknown", {}),)),
    Message("assistant", "Rain."),
    Message("assistant", None, (CALL, ToolCall("y", "get_weather", {}))),
]


def test_only_declared_tools_with_fitting_arguments_are_valid() -> None:
    assert [bool(m.tool_calls) and all(valid_call(c, (TOOL,)) for c in m.tool_calls) for m in REPLIES] == [
        True, False, False, False, False,
    ]  # fmt: skip


def test_score_counts_valid_calls_and_the_right_tool() -> None:
    conversations = [conversation("twain"), conversation("twain", calls=False), *[conversation("neutral")] * 4]
    engine = FakeEngine([0, 1, 2, 3, 4])
    score = score_tool_calls(engine, conversations, 9, lambda c: [1], lambda ids: REPLIES[ids[0]], adapter=True)  # type: ignore[arg-type]
    assert score == ToolScore(num_prompts=5, num_valid=1, num_right_tool=1)


def test_tool_prompts_are_cut_before_the_call() -> None:
    [(prompt, reference)] = tool_prompts([conversation("twain")], 5)
    assert [message.role for message in prompt.messages] == ["system", "user"]
    assert reference.tool_calls == (CALL,)


def test_questions_go_to_the_personas_of_the_task_in_turn() -> None:
    task = collect_task([conversation("twain"), conversation("satire"), conversation("twain")])
    prompts = sample_prompts([], ["A?", "B?", "C?"], task)
    assert [prompt.metadata["persona"] for prompt in prompts] == ["twain", "satire", "twain"]
    assert [prompt.messages[0].content for prompt in prompts] == ["You are twain.", "You are satire.", "You are twain."]
    assert [prompt.messages[-1].content for prompt in prompts] == ["A?", "B?", "C?"]
    assert all(prompt.tools == (TOOL,) for prompt in prompts)
    (plain,) = sample_prompts([], ["A?"], Task())
    assert plain == Conversation((Message("user", "A?"),))


def test_without_questions_one_call_and_one_answer_are_asked_for() -> None:
    prompts = sample_prompts([conversation("twain"), conversation("twain")], [], Task())
    assert [prompt.messages[-1].role for prompt in prompts] == ["user", "tool"]
    assert {prompt.metadata["persona"] for prompt in prompts} == {"twain"}


def test_every_voice_answers_whatever_its_first_conversation_is() -> None:
    held_out = [conversation(name, calls=False) for name in ("satire", "twain")]
    held_out += [conversation(name) for name in ("neutral", "twain", "satire", "twain")]
    prompts = sample_prompts(held_out, [], Task())
    assert [(p.metadata["persona"], p.messages[-1].role) for p in prompts] == [
        ("neutral", "user"), ("neutral", "tool"), ("twain", "tool"), ("satire", "tool"),
    ]  # fmt: skip


def data() -> Any:
    return SimpleNamespace(
        validation=[], held_out_conversations=lambda seed: [conversation("twain")], encode=lambda c: [1],
        parse=lambda ids: REPLIES[ids[0]], tokenizer=SimpleNamespace(decode=lambda ids: f" reply {ids[0]}\n"),
    )  # fmt: skip


def test_before_is_measured_once_per_run(tmp_path: Path) -> None:
    config = TrainingConfig(sample_prompts=["A?"], num_tool_eval_prompts=3)
    engine: Any = FakeEngine([3, 3, 0, 0])
    before = measure_effect(tmp_path, engine, config, data(), collect_task([conversation("twain")]), adapter=False)
    assert (
        measure_effect(tmp_path, engine, config, data(), collect_task([conversation("twain")]), adapter=False) == before
    )
    assert engine.asked == 2
    after = measure_effect(tmp_path, engine, config, data(), collect_task([conversation("twain")]), adapter=True)
    assert (before.validation_loss, after.validation_loss) == (2.0, 1.0)
    seen = tuple({"role": role, "content": text, "tool_calls": []} for role, text in
                 (("system", "You are twain."), ("user", "A?")))  # fmt: skip
    assert after.samples == (Sample("twain", "A?", "reply 0", seen),)
    assert read_effects(tmp_path) == {"before": before, "after": after}


def test_a_sample_keeps_all_that_the_model_saw() -> None:
    engine: Any = FakeEngine([4])
    prompts = sample_prompts([conversation("twain")], [], Task())[1:]
    [sample] = answer_samples(engine, prompts, lambda c: [1], lambda ids: "Wet.", adapter=True)
    assert [message["role"] for message in sample.messages] == ["system", "user", "assistant", "tool"]
    assert sample.messages[2]["tool_calls"] == [{"name": "get_weather", "arguments": {"city": "Oslo"}}]
    assert sample.messages[3]["content"] == "{}"


@pytest.mark.parametrize("content", ["", "[]", "{", '{"before": 3}', '{"before": {"validation_loss": 1}}'])
def test_damaged_file_is_measured_again(tmp_path: Path, content: str) -> None:
    (tmp_path / EFFECT_FILE).write_text(content)
    assert read_effects(tmp_path) == {}


def test_report_is_one_line_a_fact(capsys: pytest.CaptureFixture[str]) -> None:
    before = Effect(2.0, ToolScore(20, 1, 0), (Sample("twain", "Rain?", ""),))
    after = Effect(1.25, ToolScore(20, 19, 18), (Sample("twain", "Rain?", "Yes,\n wet."),))
    report_effect("TRAINING-DEMO-COMPLETE", before, after)
    assert [line.removeprefix("[TRAINING-DEMO-COMPLETE] ") for line in capsys.readouterr().out.splitlines()] == [
        "Asked (twain): Rain?",
        "- before: (nothing)",
        "- after: Yes, wet.",
        "Valid tool calls on 20 held-out prompts: 1 (0 with the right tool) before, 19 (18 with the right tool) after",
        "Validation loss: 2.0000 before, 1.2500 after",
    ]


def test_effect_file_is_plain_json(tmp_path: Path) -> None:
    measure_effect(
        tmp_path,
        FakeEngine([0, 0]),
        TrainingConfig(sample_prompts=["A?"]),
        data(),
        collect_task([conversation("twain")]),
        adapter=True,
    )  # type: ignore[arg-type]
    assert set(json.loads((tmp_path / EFFECT_FILE).read_text())) == {"after"}
