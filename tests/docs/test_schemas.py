"""docs/schemas/ against what the commands really print, and against the code that prints it."""

from __future__ import annotations

import ast
import json
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator

import weatherman
from fork_server import ForkServer, wait_until
from weatherman.cli import run_command
from weatherman.quality.metric import judged, unknown

SCHEMAS = Path(__file__).parents[2] / "docs" / "schemas"
SOURCE = Path(weatherman.__file__).parent
NAMES = ("data-check", "doctor", "event", "plan", "status")


def schema(name: str) -> dict[str, Any]:
    """A committed schema."""
    found: dict[str, Any] = json.loads((SCHEMAS / f"{name}.schema.json").read_text(encoding="utf-8"))
    return found


def assert_valid(name: str, value: Any) -> None:
    errors = [f"{error.json_path}: {error.message}" for error in Draft202012Validator(schema(name)).iter_errors(value)]
    assert errors == []


def events_by_kind() -> dict[str, dict[str, Any]]:
    return {one["properties"]["kind"]["const"]: one for one in schema("event")["oneOf"]}


def test_each_is_a_schema_and_there_are_no_others() -> None:
    assert sorted(path.name for path in SCHEMAS.iterdir()) == [f"{name}.schema.json" for name in NAMES]
    for name in NAMES:
        Draft202012Validator.check_schema(schema(name))
        assert schema(name)["title"]


@pytest.mark.parametrize(
    "arguments",
    [
        ["doctor", "--env", "cpu", "--json"],
        ["doctor", "--env", "h100", "--rehearse", "--json"],
        ["check", "machine", "--env", "h100", "--json"],
        ["check", "storage", "--env", "m4", "--json"],
    ],
)
def test_findings(
    arguments: list[str], capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    monkeypatch.chdir(SCHEMAS.parents[1])
    code = run_command(arguments, debug=False)
    record = json.loads(capfd.readouterr().out)
    assert_valid("doctor", record)
    assert code == (1 if record["verdict"] == "fail" else 0)


@pytest.mark.parametrize(
    ("overrides", "code"), [([], 0), (["hourly_rate=2.5"], 0), (["sharing=off", "max_train_examples=3"], 0)]
)
def test_plan(overrides: list[str], code: int, tiny: Path, capfd: pytest.CaptureFixture[str]) -> None:
    words = [word for override in overrides for word in ("--set", override)]
    assert run_command(["plan", "--config", str(tiny), *words, "--json"], debug=False) == code
    plan = json.loads(capfd.readouterr().out)
    assert_valid("plan", plan)
    assert (plan["cost"] is None) == ("hourly_rate=2.5" not in overrides)
    assert (plan["max_tokens_per_chunk"] is None) == ("sharing=off" in overrides)


def test_measures_of_data(tiny: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    bad = tmp_path / "bad.jsonl"
    bad.write_text((tiny.parent / "validation.jsonl").read_text() + '{"messages": []}\n')
    for file, code in ((tiny.parent / "validation.jsonl", 0), (bad, 1)):
        assert run_command(["data", "check", str(file), "--json"], debug=False) == code
        found = json.loads(capfd.readouterr().out)
        assert_valid("data-check", found)
        assert found["ok"] == (code == 0)
        assert bool(found["problems"]) == (code == 1)
    for metric in (judged("a", 2, "0", ok=False, detail="a.jsonl:3"), unknown("b", "at most 3", "no tokenizer")):
        assert_valid("data-check", {"ok": False, "metrics": [metric.as_json()], "problems": []})


@pytest.fixture(scope="module")
def runs(tiny_source: Path, tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Any]]:
    """The events of a run that is stopped, damaged, resumed and finished, of one in a crash loop, and of one within a budget."""
    root = tmp_path_factory.mktemp("schemas")
    run, looping, short = root / "run", root / "looping", root / "short"
    server = ForkServer(root / "server")
    train = ["train", "-c", tiny_source / "config.yaml", "--set", "save_steps=1", "--set", f"output_dir={run}"]
    try:
        life = server.start(*train)
        assert wait_until((run / "checkpoint-3" / "manifest.json").exists, life)
        life.send(15)
        assert life.wait().returncode == 143
        newest = max(run.glob("checkpoint-*"), key=lambda path: int(path.name.partition("-")[2]))
        (newest / "optimizer.safetensors").write_bytes(b"damaged")
        assert server.run(*train).returncode == 0
        assert server.run(*train, "--set", f"output_dir={short}", "--set", "max_minutes=1000").returncode == 0
        broken = [*train, "--set", f"output_dir={looping}", "--set", "model_name_or_path=/nowhere"]
        assert [server.run(*broken).returncode for _ in range(4)] == [1, 1, 1, 2]
    finally:
        server.close()
    return [
        json.loads(line) for one in (run, looping, short) for line in (one / "events.jsonl").read_text().splitlines()
    ]


def test_events_of_real_runs(runs: list[dict[str, Any]]) -> None:
    for event in runs:
        assert_valid("event", event)
    assert {event["kind"] for event in runs} == set(events_by_kind())


def test_events_that_are_not_as_described_are_refused(runs: list[dict[str, Any]]) -> None:
    step = next(event for event in runs if event["kind"] == "step")
    validator = Draft202012Validator(schema("event"))
    assert validator.is_valid(step | {"loss": "NaN"})
    for wrong in ({"loss": "much"}, {"kind": "stepp"}, {"more": 1}, {"step": -1}, {"time": "today"}):
        assert not validator.is_valid(step | wrong), wrong


def test_every_event_that_the_code_writes_is_described() -> None:
    """Read off the syntax tree: the kinds, and the fields where they are spelt out."""
    kinds: dict[str, set[str]] = {}
    for path in SOURCE.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and getattr(node.func, "attr", "") == "emit":
                words = [one.value for one in ast.walk(node.args[0]) if isinstance(one, ast.Constant)]
                for word in words:
                    kinds.setdefault(str(word), set()).update(keyword.arg for keyword in node.keywords if keyword.arg)
    described = events_by_kind()
    assert set(kinds) == set(described)
    for kind, fields in kinds.items():
        assert fields <= set(described[kind]["properties"]), kind


def test_every_field_is_required_unless_it_may_be_absent() -> None:
    for name in ("doctor", "plan", "status"):
        assert set(schema(name)["required"]) == set(schema(name)["properties"]), name
    for kind, described in events_by_kind().items():
        assert set(described["required"]) == set(described["properties"]), kind
