"""Other people's files: the variants that OpenAI-style data has are read alike, and what is wrong is named."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from strategies import rows
from weatherman.data.read import check_file, read_conversations, read_line
from weatherman.data.validate import validate_row
from weatherman.errors import WeathermanError
from weatherman.records import Conversation
from weatherman.weather.tools import WEATHER_TOOLS

ARGUMENTS = {"latitude": 48.14, "longitude": 11.58}
TOOL = {
    "type": "function",
    "function": {"name": "lookup", "parameters": {"type": "object", "properties": {"q": {"type": "string"}}}},
}


def call(arguments: Any, id_: str = "call_abcdefghijklmnop", name: str = "get_current_weather") -> dict[str, Any]:
    return {"id": id_, "type": "function", "function": {"name": name, "arguments": arguments}}


def conversation(*middle: dict[str, Any], first: dict[str, Any] | None = None, **fields: Any) -> dict[str, Any]:
    user = first or {"role": "user", "content": "Munich?"}
    return {
        "messages": [user, *middle, {"role": "assistant", "content": "Rain."}],
        "tools": list(WEATHER_TOOLS),
        **fields,
    }


def result(content: Any = "{}", id_: str = "call_abcdefghijklmnop") -> dict[str, Any]:
    return {"role": "tool", "tool_call_id": id_, "content": content}


def read(row: dict[str, Any]) -> Conversation:
    found, problems = validate_row(json.loads(json.dumps(row)), "theirs.jsonl:1")
    assert not problems, problems
    assert found
    return found


def problem_of(row: object) -> str:
    found, problems = validate_row(row, "theirs.jsonl:1")
    assert found is None
    assert problems
    return str(problems[0])


PLAIN = read(
    conversation({"role": "assistant", "content": None, "tool_calls": [call(json.dumps(ARGUMENTS))]}, result())
)


@pytest.mark.parametrize(
    "turn",
    [
        {"role": "assistant", "content": None, "tool_calls": [call(json.dumps(ARGUMENTS))]},
        {"role": "assistant", "tool_calls": [call(json.dumps(ARGUMENTS))]},
        {"role": "assistant", "content": "", "tool_calls": [call(json.dumps(ARGUMENTS))]},
        {"role": "assistant", "content": None, "tool_calls": [call(ARGUMENTS)]},
        {"role": "assistant", "content": [], "tool_calls": [call(json.dumps(ARGUMENTS, indent=2))]},
        {"role": "assistant", "content": None, "refusal": None, "annotations": [], "tool_calls": [call(ARGUMENTS)]},
        {"role": "assistant", "tool_calls": [{**call(ARGUMENTS), "index": 0}]},
    ],
)
def test_the_ways_to_write_a_call_are_one(turn: dict[str, Any]) -> None:
    found = read(conversation(turn, result()))
    assert found.messages == PLAIN.messages
    assert found.messages[1].tool_calls[0].arguments == ARGUMENTS


def test_content_may_be_a_list_of_text_parts() -> None:
    parts = [{"type": "text", "text": "Mu"}, {"type": "input_text", "text": "nich"}, "?"]
    assert read(conversation(first={"role": "user", "content": parts})).messages[0].content == "Munich?"
    picture = [{"type": "image_url", "image_url": {"url": "x"}}]
    assert "only text parts" in problem_of(conversation(first={"role": "user", "content": picture}))


def test_several_calls_in_a_turn_are_answered_in_any_order() -> None:
    calls = [call(ARGUMENTS, "a"), call(ARGUMENTS, "b"), call(ARGUMENTS, "c")]
    turn = {"role": "assistant", "tool_calls": calls}
    found = read(conversation(turn, result("3", "c"), result("1", "a"), result("2", "b")))
    assert [message.content for message in found.messages[2:5]] == ["1", "2", "3"]
    assert "no tool result" in problem_of(conversation(turn, result("1", "a"), result("2", "b")))
    assert "answers no open call" in problem_of(conversation(turn, result("1", "a"), result("1", "a")))


def test_developer_is_system_and_tools_may_be_absent() -> None:
    row = conversation()
    del row["tools"]
    row["messages"].insert(0, {"role": "developer", "content": "Be brief."})
    assert read(row).messages[0].role == "system"
    assert read(row).tools == ()


def test_unicode_and_very_long_results_survive() -> None:
    text = "Grüß Gott, 東京 ☔ \U0001f326 " + "x" * 200_000
    found = read(conversation({"role": "assistant", "tool_calls": [call(ARGUMENTS)]}, result(text)))
    assert found.messages[2].content == text
    assert (
        read(conversation({"role": "assistant", "tool_calls": [call(ARGUMENTS)]}, result(None))).messages[2].content
        == ""
    )


def test_foreign_tools_and_metadata_are_kept() -> None:
    turn = {"role": "assistant", "tool_calls": [call({"q": "x"}, name="lookup")]}
    found = read({**conversation(turn, result()), "tools": [TOOL], "metadata": {"source": "mine"}, "id": 7})
    assert found.metadata == {"source": "mine"}
    assert [tool["function"]["name"] for tool in found.tools] == ["lookup"]


@pytest.mark.parametrize(
    ("row", "told"),
    [
        ([], "expected an object"),
        ({}, "missing"),
        ({"messages": []}, "at least one message"),
        (conversation({"role": "assistant", "tool_calls": [call("{oops")]}, result()), "not JSON"),
        (
            conversation({"role": "assistant", "tool_calls": [call("[1]")]}, result()),
            "expected an object, found a list",
        ),
        (conversation({"role": "assistant", "tool_calls": [call({"latitude": 1})]}, result()), 'missing "longitude"'),
        (
            conversation({"role": "assistant", "tool_calls": [call({**ARGUMENTS, "when": 1})]}, result()),
            'unknown "when"',
        ),
        (
            conversation({"role": "assistant", "tool_calls": [call({**ARGUMENTS, "latitude": "48"})]}, result()),
            "latitude",
        ),
        (conversation({"role": "assistant", "tool_calls": [call({}, name="nope")]}, result()), "not a declared tool"),
        (conversation({"role": "assistant", "function_call": {"name": "x"}, "content": "x"}), "the old form of a call"),
        (conversation({"role": "user", "content": "again"}), "user cannot follow user"),
        (conversation(first={"role": "assistant", "content": "Hello"}), "assistant cannot follow start"),
        (conversation(first={"role": "robot", "content": "Hello"}), "not one of"),
        (conversation(result()), "answers no open call"),
        ({"messages": [{"role": "user", "content": "x"}]}, "must be the assistant's"),
        (conversation(first={"role": "user", "content": "\ud800"}), "half of a character"),
    ],
)
def test_what_is_wrong_is_named(row: object, told: str) -> None:
    assert told in problem_of(row)


@settings(max_examples=60, deadline=None)
@given(rows())
def test_valid_rows_are_valid_however_their_arguments_are_written(row: dict[str, Any]) -> None:
    found = read(row)
    for message in row["messages"]:
        for one in message.get("tool_calls", ()):
            one["function"]["arguments"] = json.loads(one["function"]["arguments"])
        if message.get("content") is None:
            message.pop("content", None)
    assert read(row).messages == found.messages


@settings(max_examples=100, deadline=None)
@given(st.recursive(st.none() | st.booleans() | st.floats() | st.text(max_size=5), lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["messages", "role", "content", "tool_calls", "tools", "function", "id"]), inner, max_size=4), max_leaves=20))  # fmt: skip
def test_no_decoded_value_crashes_the_validator(value: Any) -> None:
    found, problems = validate_row(value, "x:1")
    assert (found is None) == bool(problems)


def test_a_file_tells_line_and_field(tmp_path: Path) -> None:
    path = tmp_path / "theirs.jsonl"
    good = json.dumps(conversation())
    path.write_text(f"\ufeff{good}\r\n\n{{}}\n{good}", encoding="utf-8")
    assert check_file(path)[0] == 3
    assert "theirs.jsonl:3 messages: missing" in str(check_file(path)[1][0])
    assert read_line(path, 4).messages[0].content == "Munich?"
    with pytest.raises(WeathermanError, match="blank"):
        read_line(path, 2)
    with pytest.raises(WeathermanError, match="no line 9"):
        read_line(path, 9)
    with pytest.raises(WeathermanError, match="messages: missing"):
        list(read_conversations(path))


@pytest.mark.parametrize(("content", "code"), [(b"", "data.empty"), (b"\n \n", "data.empty"), (b"a\0b", "data.binary"), (b"\xff\xfe{\0", "data.binary")])  # fmt: skip
def test_files_that_are_no_jsonl(tmp_path: Path, content: bytes, code: str) -> None:
    path = tmp_path / "x.jsonl"
    path.write_bytes(content)
    with pytest.raises(WeathermanError) as caught:
        check_file(path)
    assert caught.value.code == code
    (tmp_path / "bare").mkdir()
    with pytest.raises(WeathermanError, match="folder"):
        check_file(tmp_path / "bare")
    with pytest.raises(WeathermanError, match="no data file"):
        check_file(tmp_path / "absent.jsonl")
