"""What a run teaches: collected from its data, bounded, kept with the run and found wherever the adapter goes."""

from __future__ import annotations

import json
import os
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from weatherman.config.schema import TrainingConfig
from weatherman.errors import WeathermanError
from weatherman.records import Conversation, Message
from weatherman.run.kept_task import keep_task, task_hash
from weatherman.system.fingerprint import hash_file
from weatherman.task.collect import MAX_PERSONAS, MAX_PROMPTS, MAX_TOOL_SETS, collect_task
from weatherman.task.find import task_of_adapter
from weatherman.task.task import Persona, SystemPrompt, Task, ToolSet, read_task, task_bytes


def tool(name: str) -> dict[str, Any]:
    return {"type": "function", "function": {"name": name, "parameters": {"type": "object"}}}


def said(question: str, persona: str | None = None, system: str | None = None, *tools: str) -> Conversation:
    head = (Message("system", system),) if system is not None else ()
    messages = (*head, Message("user", question), Message("assistant", "Yes."))
    return Conversation(messages, tuple(map(tool, tools)), {"persona": persona} if persona else {})


SOME = [
    said("A?", "cook", "Cook!", "stir"),
    said("B?", None, None),
    said("C?", None, None),
    said("A?", "poet", "Rhyme!", "write", "stir"),
    said("D?", "poet", "Write verse!", "write", "stir"),
    said("E?", "poet", "Write verse!"),
]


def test_everything_is_counted_and_the_most_frequent_comes_first() -> None:
    task = collect_task(SOME)
    assert task.personas == (
        Persona("poet", 3, (SystemPrompt("Write verse!", 2), SystemPrompt("Rhyme!", 1))),
        Persona("", 2, (SystemPrompt(None, 2),)),
        Persona("cook", 1, (SystemPrompt("Cook!", 1),)),
    )
    assert task.tool_sets == (
        ToolSet((), 3), ToolSet((tool("write"), tool("stir")), 2), ToolSet((tool("stir"),), 1),
    )  # fmt: skip
    assert (task.questions, task.num_conversations) == (("A?", "B?", "C?", "D?", "E?"), 6)
    assert task.tools == (tool("write"), tool("stir"))
    assert task.persona("").name == "poet"
    assert task.persona("cook").opening == (Message("system", "Cook!"),)
    assert task.personas[1].opening == ()
    assert [one.name for one in collect_task(SOME, ["F?"], ["cook"]).personas] == ["cook", "poet", ""]
    assert collect_task(SOME, ["F?"]).questions == ("F?",)


def test_a_persona_that_was_not_trained_is_refused() -> None:
    with pytest.raises(WeathermanError, match="has no persona 'twain'") as caught:
        collect_task(SOME).persona("twain")
    assert caught.value.hint == "choose one of poet, cook."
    with pytest.raises(WeathermanError, match="trained without personas"):
        collect_task([said("A?")]).persona("twain")


def test_endless_variety_is_bounded_and_what_is_not_listed_is_counted() -> None:
    many = [said(f"{n}?", f"p{n}", f"s{n}", f"t{n}") for n in range(3000)]
    many += [said("?", "p7", f"s{n}", "t7") for n in range(20)]
    task = collect_task(many)
    assert (len(task.tool_sets), len(task.personas)) == (MAX_TOOL_SETS, MAX_PERSONAS)
    assert (task.tool_sets[0], task.personas[0].num_conversations) == (ToolSet((tool("t7"),), 21), 21)
    assert len(task.personas[0].system_prompts) == MAX_PROMPTS
    record = json.loads(task_bytes(task))
    assert record["num_conversations_not_listed"]["tool_sets"] == 3020 - 21 - (MAX_TOOL_SETS - 1)
    long = collect_task([said("?" * 900, "p", "x" * 3_000_000, "t")] * 2 + [said("?", "p", "short", "t")])
    assert [prompt.text for prompt in long.personas[0].system_prompts] == ["short"]
    assert long.questions == ("?",)
    assert json.loads(task_bytes(long))["num_conversations_not_listed"] == {"system_prompts": 2, "tool_sets": 0}


def test_the_file_keeps_every_byte_of_a_prompt(tmp_path: Path) -> None:
    """The order of keys too: a prompt spells a tool in the order in which the data does."""
    odd = {"type": "function", "function": {"z": 1.0, "name": "é", "a": {"b": 1, "a": [None, True]}}}
    task = Task((Persona("", 1, (SystemPrompt("\u2028 é \n", 1),)),), (ToolSet((odd,), 1),), ("\x00?",), 1)
    (tmp_path / "task.json").write_bytes(task_bytes(task))
    read = read_task(tmp_path / "task.json")
    assert read == task
    assert json.dumps(read.tools[0]) == json.dumps(odd)
    assert task_bytes(read) == task_bytes(task)


GOOD = json.loads(task_bytes(collect_task(SOME)))


@pytest.mark.parametrize(
    "content",
    ["", "[]", "{", "{}", json.dumps(GOOD | {"format_version": 2}), json.dumps(GOOD | {"personas": 3}),
     json.dumps(GOOD | {"tool_sets": [{"num_conversations": 1, "tools": [3]}]}), json.dumps(GOOD | {"questions": [3]}),
     json.dumps(GOOD | {"personas": [{"name": None, "num_conversations": 1, "system_prompts": [{"text": 3}]}]})],
)  # fmt: skip
def test_damaged_files_are_refused_by_name(tmp_path: Path, content: str) -> None:
    path = tmp_path / "task.json"
    path.write_text(content)
    with pytest.raises(WeathermanError, match=r"task\.json") as caught:
        read_task(path)
    assert caught.value.code == "task.unreadable"
    with pytest.raises(WeathermanError, match=r"task\.json"):
        task_of_adapter(tmp_path, {})


# --- in a run -------------------------------------------------------------------------------------------------------


def row(persona: str) -> str:
    messages = [{"role": "system", "content": f"Be {persona}."}, {"role": "user", "content": f"{persona}?"}]
    return json.dumps(
        {"messages": [*messages, {"role": "assistant", "content": "."}], "metadata": {"persona": persona}}
    )


@pytest.fixture
def config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> TrainingConfig:
    monkeypatch.setenv("WEATHERMAN_CACHE", str(tmp_path / "cache"))
    (tmp_path / "train.jsonl").write_text("\n".join(map(row, ("cook", "poet", "poet"))) + "\n")
    (tmp_path / "held.jsonl").write_text(row("cook") + "\n" + row("poet").replace("poet?", "held out?") + "\n")
    return TrainingConfig(
        train_file=str(tmp_path / "train.jsonl"), validation_file=str(tmp_path / "held.jsonl"), personas=["poet"],
    )  # fmt: skip


def facts(config: TrainingConfig) -> Any:
    held = Path(config.validation_file)
    hashes = {"train_hash": hash_file(Path(config.train_file)), "validation_hash": hash_file(held)}
    return SimpleNamespace(validation_path=held, **hashes)


def test_a_run_keeps_the_task_of_its_personas_and_asks_what_was_held_out(
    tmp_path: Path, config: TrainingConfig
) -> None:
    task = keep_task(tmp_path, config, facts(config), None)
    assert read_task(tmp_path / "task.json") == task
    assert task.persona_names == ("poet",)
    assert task.questions == ("held out?",)
    Path(config.train_file).unlink()  # the cache knows it by the hashes of the files
    (tmp_path / "second").mkdir()
    before = facts.__globals__["SimpleNamespace"](
        validation_path=Path(config.validation_file), validation_hash=hash_file(Path(config.validation_file)),
        train_hash="0" * 64,
    )  # fmt: skip
    with pytest.raises(WeathermanError, match="there is no data file"):
        keep_task(tmp_path / "second", config, before, None)


def test_a_resumed_run_keeps_its_file_or_gets_it_again(
    tmp_path: Path, config: TrainingConfig, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "task.json"
    task = keep_task(tmp_path, config, facts(config), None)
    frozen = {"task": task_hash(task)}
    whole, number = path.read_bytes(), path.stat().st_ino
    assert keep_task(tmp_path, config.model_copy(update={"sample_prompts": ["New?"]}), facts(config), frozen) == task
    assert path.stat().st_ino == number
    path.write_bytes(whole.replace(b"Be poet.", b"Be evil."))
    assert keep_task(tmp_path, config, facts(config), frozen) == task
    assert path.read_bytes() == whole
    assert b"Be evil." in (tmp_path / "quarantine" / "task.json").read_bytes()
    assert "is not the one this run began with" in capsys.readouterr().out
    path.unlink()
    assert keep_task(tmp_path, config, facts(config), frozen) == task
    assert "is missing; it is written again" in capsys.readouterr().out
    path.unlink()
    os.mkfifo(path)
    assert keep_task(tmp_path, config, facts(config), frozen) == task
    path.unlink()
    assert keep_task(tmp_path, config, facts(config), {"data": "a run of an older version"}) == task
    assert path.read_bytes() == whole


# --- with an adapter ------------------------------------------------------------------------------------------------


def test_the_adapters_own_file_wins_over_its_runs(tmp_path: Path) -> None:
    adapter = tmp_path / "run" / "checkpoint-5"
    adapter.mkdir(parents=True)
    old, told = task_of_adapter(adapter, {})
    assert (old, "without system prompt" in told) == (Task(), True)
    (tmp_path / "run" / "task.json").write_bytes(task_bytes(collect_task(SOME)))
    assert task_of_adapter(adapter, {}) == (collect_task(SOME), "")
    (adapter / "task.json").write_bytes(task_bytes(collect_task(SOME[:1])))
    assert task_of_adapter(adapter, {}) == (collect_task(SOME[:1]), "")


def test_an_older_adapter_takes_it_from_the_file_it_was_trained_on(tmp_path: Path, config: TrainingConfig) -> None:
    run = {"config": config.model_dump(mode="json"), "frozen": {"data": hash_file(Path(config.train_file))}}
    task, told = task_of_adapter(tmp_path / "adapter", run)
    assert task.persona_names == ("poet",)
    assert told.endswith(f"are taken from {config.train_file}.")
    Path(config.train_file).write_text(row("poet") + "\n")  # another file now: it says nothing about that adapter
    assert task_of_adapter(tmp_path / "adapter", run)[0] == Task()
