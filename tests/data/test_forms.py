"""Every form and container is read into the same conversation; a broken row in the middle is named and passed over."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import pytest

from weatherman.data.changes import Changes
from weatherman.data.convert import convert
from weatherman.data.places import data_files
from weatherman.data.read import read_line, read_rows
from weatherman.data.reading import Reading
from weatherman.errors import WeathermanError
from weatherman.steps.sampling import conversations_in, step_plans

ASK, SAY = "How cold is cell 7?", "Minus 4."
TOOL = {"name": "read_cell", "description": "", "parameters": {"cell": {"type": "int"}}}
CALL = {"name": "read_cell", "arguments": {"cell": 7}}
TAGGED = f"<tool_call>\n{json.dumps(CALL)}\n</tool_call>"
TRAJECTORY = [
    {"role": "system", "content": "You guard the cells."},
    {"role": "user", "content": ASK},
    {"role": "assistant", "content": "Let me look.", "tool_calls": [{"id": "call_8Hk2jQ9zLmNpRs", "type": "function", "function": {"name": "read_cell", "arguments": '{"cell": 7}'}}]},
    {"role": "tool", "tool_call_id": "call_8Hk2jQ9zLmNpRs", "name": "read_cell", "content": '{"celsius": -4.0}'},
    {"role": "assistant", "content": SAY},
    {"role": "user", "content": "###STOP###"},
]  # fmt: skip
FORMS: dict[str, Any] = {
    "openai": {"messages": [{"role": "user", "content": ASK}, {"role": "assistant", "content": SAY}]},
    "sharegpt": {"conversations": [{"from": "human", "value": ASK}, {"from": "gpt", "value": SAY}]},
    "chatml": {"text": f"<|im_start|>user\n{ASK}<|im_end|>\n<|im_start|>assistant\n{SAY}<|im_end|>\n"},
    "alpaca": {"instruction": ASK, "input": "", "output": SAY},
    "trl": {"prompt": ASK, "completion": SAY},
    "xlam": {"id": 3, "query": ASK, "tools": json.dumps([TOOL]), "answers": json.dumps([CALL])},
    "hermes": {"conversations": [{"from": "system", "value": f"Call.\n<tools>\n{json.dumps([TOOL])}\n</tools>"}, {"from": "human", "value": ASK}, {"from": "gpt", "value": TAGGED}, {"from": "tool", "value": "<tool_response>\n-4\n</tool_response>"}, {"from": "gpt", "value": SAY}]},
    "tau-bench": {"task_id": 1, "reward": 1.0, "info": {"a": 1}, "traj": TRAJECTORY},
    "glaive": {"system": f"SYSTEM: Use them. -\n{json.dumps(TOOL)}", "chat": f"USER: {ASK}\n\n\nASSISTANT: <functioncall> {{\"name\": \"read_cell\", \"arguments\": '{{\"cell\": 7}}'}} <|endoftext|>\n\n\nFUNCTION RESPONSE: {{\"celsius\": -4}}\n\n\nASSISTANT: {SAY} <|endoftext|>"},
}  # fmt: skip


def lines(path: Path, *rows: Any) -> Path:
    path.write_text("".join((row if isinstance(row, str) else json.dumps(row)) + "\n" for row in rows))
    return path


@pytest.mark.parametrize("name", FORMS)
def test_a_form_is_recognised_and_a_broken_row_is_named(tmp_path: Path, name: str) -> None:
    path = lines(tmp_path / "their.jsonl", FORMS[name], '{"broken', FORMS[name])
    found = list(read_rows(path))
    assert [bool(one) for one, _ in found] == [True, False, True], found
    assert "their.jsonl:2" in str(found[1][1][0])
    first = found[0][0]
    assert first
    users = [one.content for one in first.messages if one.role == "user"]
    assert users[0] == ASK
    if name in ("xlam", "hermes", "tau-bench", "glaive"):
        calls = [call for one in first.messages for call in one.tool_calls]
        assert [(one.name, one.arguments) for one in calls] == [("read_cell", {"cell": 7})]
        assert [one["function"]["name"] for one in first.tools] == ["read_cell"]
    if name != "xlam":
        assert first.messages[-1].content == SAY


def test_a_trajectory_is_converted_with_every_change_counted(tmp_path: Path) -> None:
    path = tmp_path / "runs.json"
    path.write_text(json.dumps([FORMS["tau-bench"]] * 3, indent=1))
    done = convert([path], tmp_path / "out.jsonl", Reading())
    assert (done.num_rows, done.num_kept, done.num_refused) == (3, 3, 0)
    assert done.changes == {
        "turns-trimmed": 3, "ids-respelled": 3, "results-respelled": 3, "tools-from-calls": 3, "key-left-out info": 3,
    }  # fmt: skip
    again = convert([tmp_path / "out.jsonl"], tmp_path / "again.jsonl", Reading(strict=True))
    assert again.num_kept == 3
    assert (tmp_path / "out.jsonl").read_bytes() == (tmp_path / "again.jsonl").read_bytes()
    with pytest.raises(WeathermanError, match="none of 3 rows"):
        convert([path], tmp_path / "none.jsonl", Reading(strict=True))
    assert not list(tmp_path.glob("*none*"))


def test_containers_give_the_same_rows(tmp_path: Path) -> None:
    pyarrow = pytest.importorskip("pyarrow")
    zstandard = pytest.importorskip("zstandard")
    parquet = pytest.importorskip("pyarrow.parquet")
    rows = [FORMS["openai"], {"messages": [*FORMS["openai"]["messages"]]}]
    text = "".join(json.dumps(row) + "\n" for row in rows).encode()
    (tmp_path / "a.jsonl").write_bytes(text)
    (tmp_path / "a.jsonl.gz").write_bytes(gzip.compress(text))
    (tmp_path / "a.jsonl.zst").write_bytes(zstandard.compress(text))
    (tmp_path / "a.json").write_text(json.dumps(rows, indent=2))
    table = pyarrow.Table.from_pylist(rows)
    parquet.write_table(table, tmp_path / "a.parquet")
    with pyarrow.OSFile(str(tmp_path / "a.arrow"), "wb") as sink, pyarrow.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table)
    for path in sorted(tmp_path.iterdir()):
        found = [one.messages for one, _ in read_rows(path) if one]
        assert len(found) == 2, path
        assert [message.content for message in found[0]] == [ASK, SAY], path
    assert read_line(tmp_path / "a.json", 2).messages[1].content == SAY
    (tmp_path / "b.parquet").write_bytes((tmp_path / "a.parquet").read_bytes()[:-40])
    with pytest.raises(WeathermanError, match="cannot be read"):
        list(read_rows(tmp_path / "b.parquet"))
    parquet.write_table(pyarrow.table({"messages": [1, 2]}), tmp_path / "c.parquet")
    assert all("expected a list" in str(problems[0]) for _, problems in read_rows(tmp_path / "c.parquet"))


def test_a_list_goes_on_after_a_broken_row_and_tells_a_missing_end(tmp_path: Path) -> None:
    good = json.dumps(FORMS["openai"])
    path = tmp_path / "list.json"
    path.write_text(f'[{good}, {{"messages": oops}}, {good}')
    found = list(read_rows(path))
    assert [bool(one) for one, _ in found] == [True, False, False]
    assert "its end is missing" in str(found[-1][1][0])


def test_a_form_that_nobody_knows_is_named_with_what_is_close(tmp_path: Path) -> None:
    path = lines(tmp_path / "odd.jsonl", {"conversation_turns": [], "label": 1})
    with pytest.raises(WeathermanError, match=r"keys conversation_turns, label"):
        list(read_rows(path))
    near = lines(tmp_path / "near.jsonl", {"instructions": "x", "output": "y"})
    with pytest.raises(WeathermanError, match="closest is alpaca"):
        list(read_rows(near))


def test_patterns_folders_and_shares(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    for name in ("train-00000.jsonl", "train-00001.jsonl", "test-00000.jsonl"):
        lines(tmp_path / "data" / name, *[FORMS["openai"]] * 200)
    assert [one.path.name for one in data_files(tmp_path)] == ["train-00000.jsonl", "train-00001.jsonl"]
    assert len(data_files(tmp_path / "data" / "t*.jsonl")) == 3
    one = tmp_path / "data" / "test-00000.jsonl"
    share = [found for found, _ in read_rows(Path(f"{one}=0.25 + {tmp_path}/data/train-00001.jsonl")) if found]
    assert 225 <= len(share) <= 280
    assert [found for found, _ in read_rows(Path(f"{one}=0.25"))] == share[: len(share) - 200]


def test_all_views_of_a_conversation_meet_in_one_step() -> None:
    import numpy as np

    from weatherman.records import Rendered

    ids, mask = np.arange(4, dtype=np.int32), np.array([False, True, True, True])
    examples = [Rendered(ids, mask, f"f:{number}") for number in range(10) for _ in range(1 + number % 3)]
    met: list[int] = []
    for plan in step_plans(examples, batch_size=4, seed=1, first_step=1, last_step=3):
        for places in conversations_in(examples):
            assert len(set(places) & set(plan.example_ids)) in (0, len(places))
        met += plan.example_ids
    assert sorted(met) == list(range(len(examples)))


def test_changes_are_told_in_words() -> None:
    changes = Changes()
    changes.add("ids-given", 2)
    changes.add("null-padding", 0)
    changes.leave_out("score")
    assert changes.in_words() == ["2 × call ids given by order", "1 × key left out: score"]
