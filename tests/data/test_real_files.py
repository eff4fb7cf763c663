"""What real files hold is read right, put right and counted, or refused by name: each kind in its smallest form."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from weatherman.data.changes import Changes
from weatherman.data.read import read_rows
from weatherman.data.reading import Reading
from weatherman.data.validate import validate_row
from weatherman.records import Conversation

USER, ANSWER = {"role": "user", "content": "How cold?"}, {"role": "assistant", "content": "Minus 4."}
ZONE = {"type": "object", "properties": {"zone": {"type": "string"}}, "required": ["zone"]}
NAME = "read_sensor"


def tool(parameters: Any = ZONE, **more: Any) -> dict[str, Any]:
    return {
        "type": "function",
        "function": {"name": NAME, "description": "A sensor.", "parameters": parameters, **more},
    }


def call(arguments: Any, **more: Any) -> dict[str, Any]:
    return {"id": "abcdefghi", "type": "function", "function": {"name": NAME, "arguments": arguments}, **more}


def with_call(arguments: Any, *, result: Any = "ok", parameters: Any = ZONE) -> dict[str, Any]:
    asked = {"role": "assistant", "content": None, "tool_calls": [call(arguments)]}
    answered = {"role": "tool", "tool_call_id": "abcdefghi", "content": result}
    return {"messages": [USER, asked, answered, ANSWER], "tools": [tool(parameters)]}


def read(row: Any, reading: Reading = Reading()) -> tuple[Conversation, Changes]:  # noqa: B008 - frozen
    changes = Changes()
    found, problems = validate_row(json.loads(json.dumps(row)), "f:1", reading, changes)
    assert found, [str(one) for one in problems]
    return found, changes


def refused(row: Any, reading: Reading = Reading()) -> list[str]:  # noqa: B008
    found, problems = validate_row(json.loads(json.dumps(row)), "f:1", reading)
    assert found is None
    return [str(one) for one in problems]


@pytest.mark.parametrize(
    "mark", [{"train": False}, {"weight": 0}, {"training": False}, {"loss": False}, {"weight": 0.0}]
)
def test_a_marked_answer_is_not_trained_on(mark: dict[str, Any]) -> None:
    found, _ = read({"messages": [USER, {**ANSWER, **mark}, USER, ANSWER]})
    assert [one.trained for one in found.messages if one.role == "assistant"] == [False, True]


def test_train_on_chooses_the_last_or_the_marked() -> None:
    rows = {"messages": [USER, {**ANSWER, "train": True}, USER, ANSWER]}
    chosen = {
        name: [one.trained for one in read(rows, Reading(train_on=name))[0].messages if one.role == "assistant"]
        for name in ("all", "last", "marked")
    }
    assert chosen == {"all": [True, True], "last": [False, True], "marked": [True, False]}
    assert "nothing in this row is trained on" in refused({"messages": [USER, ANSWER]}, Reading(train_on="marked"))[0]
    assert "contradict" in refused({"messages": [USER, {**ANSWER, "train": True, "weight": 0}]})[0]
    assert "neither 0 nor 1" in refused({"messages": [USER, {**ANSWER, "weight": 0.5}]})[0]
    assert "only the assistant's" in refused({"messages": [{**USER, "train": True}, ANSWER]})[0]


@pytest.mark.parametrize("key", ["system", "system_prompt"])
def test_a_system_prompt_beside_the_messages_is_the_first_message(key: str) -> None:
    found, changes = read({"messages": [USER, ANSWER], key: "You guard the cold room."})
    assert (found.messages[0].role, found.messages[0].content) == ("system", "You guard the cold room.")
    assert changes == {"system-key": 1}


def test_tools_under_another_key_and_as_text_are_read() -> None:
    found, changes = read({"messages": [USER, ANSWER], "available_tools": [tool()]})
    assert [one["function"]["name"] for one in found.tools] == [NAME]
    assert changes == {"tools-key": 1}
    text = json.dumps(json.dumps([tool()]))
    assert read({"messages": [USER, ANSWER], "tools": text})[0].tools == found.tools


def test_thoughts_are_kept() -> None:
    found, _ = read({"messages": [USER, {**ANSWER, "reasoning_content": "Look at the log."}]})
    assert found.messages[1].reasoning == "Look at the log."


def test_keys_of_meaning_are_refused_and_others_counted() -> None:
    assert "preference pair" in refused({"messages": [USER, ANSWER], "chosen": [ANSWER]})[0]
    assert "images: only text" in refused({"messages": [USER, ANSWER], "images": ["x.png"]})[0]
    assert read({"messages": [USER, ANSWER], "score": 3})[1] == {"key-left-out score": 1}


def test_null_padding_is_removed_where_the_schema_has_no_place_for_it() -> None:
    padded = {"zone": "north", "city": None, "depth": None}
    found, changes = read(with_call(padded))
    assert found.messages[1].tool_calls[0].arguments == {"zone": "north"}
    assert changes == {"null-padding": 2}
    nullable = {"type": "object", "properties": {"zone": {"type": ["string", "null"]}}}
    found, changes = read(with_call({"zone": None}, parameters=nullable))
    assert found.messages[1].tool_calls[0].arguments == {"zone": None}
    assert not changes
    assert "zone" in refused(with_call({"zone": None}))[0]


def test_null_in_a_declaration_is_padding() -> None:
    parameters = {**ZONE, "properties": {"zone": {"type": "string", "enum": None}, "city": None}}
    row = with_call({"zone": "north"}, parameters=parameters)
    row["tools"][0]["function"]["strict"] = None
    found, changes = read(row)
    assert found.tools[0] == tool(ZONE)
    assert changes == {"null-padding": 3}
    assert read({"messages": [USER, ANSWER], "tools": [tool(None)]})[0].tools[0]["function"].get("parameters") is None


@pytest.mark.parametrize(
    "parameters", [{"zone": {"type": "str"}}, {"zone": {"type": "str", "description": "where"}}, {"type": "dict", "properties": {"zone": {"type": "string"}}, "required": ["zone"]}]
)  # fmt: skip
def test_bare_parameters_and_foreign_types_check_arguments(parameters: Any) -> None:
    assert read(with_call({"zone": "north"}, parameters=parameters))[0].tools[0]["function"]["parameters"]["properties"]
    assert 'missing "zone"' in refused(with_call({"zoen": 7}, parameters=parameters))[0]
    assert "zone" in refused(with_call({"zone": 7}, parameters=parameters))[0]


def test_parameters_that_check_nothing_are_refused() -> None:
    assert "no argument would be checked" in refused(with_call({"zone": "x"}, parameters={"zone": "str"}))[0]


def test_a_reference_that_leads_nowhere_is_refused_once() -> None:
    lost = {"type": "object", "properties": {"zone": {"$ref": "#/$defs/Zone"}}}
    problems = refused(with_call({"zone": "north"}, parameters=lost))
    assert len(problems) == 1
    assert "not a JSON Schema" in problems[0]
    good = {**lost, "$defs": {"Zone": {"enum": ["north", "south"]}}}
    read(with_call({"zone": "north"}, parameters=good))
    assert "is not one of" in refused(with_call({"zone": "west"}, parameters=good))[0]


def test_calls_get_ids_of_nine_letters_and_results_find_them() -> None:
    first, second = call({"zone": "a"}), call({"zone": "b"})
    del first["id"], second["id"]
    messages = [
        USER,
        {"role": "assistant", "tool_calls": [first, second]},
        {"role": "tool", "name": NAME, "content": "1"},
        {"role": "tool", "name": NAME, "content": "2"},
        ANSWER,
    ]
    found, changes = read({"messages": messages, "tools": [tool()]})
    ids = [one.id for one in found.messages[1].tool_calls]
    assert ids == ["call00000", "call00001"]
    assert [(one.tool_call_id, one.content) for one in found.messages[2:4]] == [(ids[0], "1"), (ids[1], "2")]
    assert changes == {"ids-given": 4}


def test_long_ids_are_spelled_once_for_all() -> None:
    row = json.loads(json.dumps(with_call({"zone": "a"})).replace("abcdefghi", "call_Kx93jfVq"))
    found, changes = read(row)
    (one,) = found.messages[1].tool_calls
    assert len(one.id) == 9
    assert found.messages[2].tool_call_id == one.id
    assert changes == {"ids-respelled": 1}


@pytest.mark.parametrize(
    ("result", "spelled"),
    [
        ("255.0", "255"),
        ('{"cost": 25.00}', '{"cost": 25}'),
        ('{"cost":25.50,"n":1}', '{"cost":25.5,"n":1}'),
        ('"caf\\u00e9"', '"café"'),
        ('{"place":"caf\\u00e9"}', '{"place":"café"}'),
        ("[see p. 70]", "[see p. 70]"),
        ('{ "a" : 1 }', '{ "a" : 1 }'),
        ("version 2.0", "version 2.0"),
    ],
)
def test_results_have_one_spelling(result: str, spelled: str) -> None:
    found, changes = read(with_call({"zone": "a"}, result=result))
    assert found.messages[2].content == spelled
    assert bool(changes) == (result != spelled)


def test_a_call_may_be_the_last_message_and_what_follows_the_last_answer_is_trimmed() -> None:
    row = with_call({"zone": "a"})
    row["messages"] = [*row["messages"][:2]]
    found, changes = read(row)
    assert found.messages[-1].tool_calls
    assert not changes
    ended, changes = read({**row, "messages": [*with_call({"zone": "a"})["messages"][:3]]})
    assert ended.messages == found.messages
    assert changes == {"turns-trimmed": 1}
    assert "assistant's" in refused({"messages": [USER]})[0]


def test_arguments_are_decoded_three_deep_and_no_deeper() -> None:
    text: Any = {"zone": "a"}
    for deep in range(1, 5):
        text = json.dumps(text)
        if deep < 4:
            found, changes = read(with_call(text))
            assert found.messages[1].tool_calls[0].arguments == {"zone": "a"}
            assert bool(changes) == (deep > 1)
        else:
            assert "JSON text within JSON text" in refused(with_call(text))[0]


def test_a_bad_declaration_is_told_once_and_not_at_every_call() -> None:
    row = with_call({"zone": "a"})
    row["tools"][0]["function"]["parameters"] = {"type": "object", "properties": 3}
    problems = refused(row)
    assert len(problems) == 1
    assert "tools[0]" in problems[0]


def test_system_messages_are_merged_and_two_users_refused() -> None:
    found, changes = read({"messages": [{"role": "system", "content": "A."}, {"role": "system", "content": "B."}, USER, ANSWER]})  # fmt: skip
    assert found.messages[0].content == "A.\n\nB."
    assert changes == {"system-merged": 1}
    assert "user cannot follow user" in refused({"messages": [USER, USER, ANSWER]})[0]


def test_strict_refuses_what_must_be_changed() -> None:
    row = {"messages": [USER, ANSWER, USER]}
    assert "would be changed: 1 × turns after the last answer" in refused(row, Reading(strict=True))[0]
    read({"messages": [USER, ANSWER]}, Reading(strict=True))


def test_no_error_echoes_more_than_forty_characters_of_the_data() -> None:
    secret = "sk-" + "x9" * 200
    rows = [
        with_call({"zone": [secret]}),
        with_call(secret),
        with_call({"zone": "a", secret: 1}, parameters={**ZONE, "additionalProperties": False}),
        {"messages": [{"role": secret, "content": "x"}, ANSWER]},
        {"messages": [USER, ANSWER], "tools": [{"type": "function", "function": {"name": secret, "parameters": 3}}]},
    ]
    for row in rows:
        for problem in refused(row):
            assert secret[:41] not in problem


def test_a_million_characters_and_half_an_emoji(tmp_path: Path) -> None:
    rows = [{"messages": [USER, {"role": "assistant", "content": "🌧" * 10**6}]}, {"messages": [USER, {"role": "assistant", "content": "\ud83c"}]}]  # fmt: skip
    path = tmp_path / "long.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    found = list(read_rows(path))
    assert len(found[0][0].messages[1].content) == 10**6
    assert "half of a character" in str(found[1][1][0])
