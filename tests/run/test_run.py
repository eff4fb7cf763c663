"""A run's folder: which one is next, what is frozen, how every ending is recorded."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from command_line import read_events
from weatherman.checkpoints.resume import ResumeState, begin_attempt, record_finished
from weatherman.config.schema import TrainingConfig
from weatherman.engine.base import EngineInfo
from weatherman.errors import Problems, WeathermanError
from weatherman.run.folder import next_run_folder
from weatherman.run.opening import open_run
from weatherman.run.provenance import (
    MAY_CHANGE,
    apply_frozen,
    frozen_facts,
    git_commit,
    package_versions,
    refuse_changes,
    warn_of_differences,
)
from weatherman.run.stop import StopNow
from weatherman.run.training_data import DataIdentity

INFO = EngineInfo("torch 2", "cpu", "a CPU", "float32", "tree", True, 2, 10, 1, 512)


def data(**changes: Any) -> Any:
    facts = {
        "train_hash": "d" * 64,
        "template": SimpleNamespace(hash="t" * 64),
        "tokenizer": SimpleNamespace(hash="k" * 64),
    }
    return SimpleNamespace(**{**facts, **changes})


def config_for(folder: Path, **changes: Any) -> TrainingConfig:
    return TrainingConfig(output_dir=str(folder), **changes)


def test_next_run_folder_is_new_unless_the_last_is_unfinished(tmp_path: Path) -> None:
    base = tmp_path / "demo"
    first = next_run_folder(base)
    assert first.parent == tmp_path
    assert first.name.startswith("demo-2")
    old, unfinished = tmp_path / "demo-20260101-000000", tmp_path / "demo-20260102-000000"
    for folder in (old, unfinished, tmp_path / "demo-notes"):
        folder.mkdir()
    state = begin_attempt(unfinished)
    assert next_run_folder(base) == unfinished
    record_finished(unfinished, state)
    assert next_run_folder(base) not in (old, unfinished)


def test_an_unreadable_run_is_not_passed_over(tmp_path: Path) -> None:
    folder = tmp_path / "demo-20260102-000000"
    folder.mkdir()
    (folder / "resume_metadata.json").write_text("?")
    assert next_run_folder(tmp_path / "demo") == folder


def test_failure_is_recorded_with_its_code(tmp_path: Path) -> None:
    with pytest.raises(WeathermanError), open_run(config_for(tmp_path / "r"), [], reset_crash_loop=False):
        raise WeathermanError("data.bad", "line 3 is bad.", "mend it.")
    [event] = read_events(tmp_path / "r", "failure")
    assert (event["code"], event["exit_code"], event["message"]) == ("data.bad", 1, "line 3 is bad. Hint: mend it.")
    status = json.loads((tmp_path / "r" / "status.json").read_text())
    assert (status["state"], status["exit_code"]) == ("failed", 1)
    assert json.loads((tmp_path / "r" / "resume_metadata.json").read_text())["last_error"].startswith("line 3 is bad.")


def test_leaving_at_once_is_recorded_as_a_stop_with_its_code(tmp_path: Path) -> None:
    with pytest.raises(StopNow), open_run(config_for(tmp_path / "r"), [], reset_crash_loop=False):
        raise StopNow(143)
    status = json.loads((tmp_path / "r" / "status.json").read_text())
    assert (status["state"], status["exit_code"]) == ("stopped", 143)
    assert json.loads((tmp_path / "r" / "resume_metadata.json").read_text())["clean_stop"] is True


def test_attempts_are_numbered(tmp_path: Path) -> None:
    for _ in range(2):
        with open_run(config_for(tmp_path / "r"), [], reset_crash_loop=False) as run:
            run.record_stop(143, "Stopped")
    assert [event["attempt"] for event in read_events(tmp_path / "r", "start")] == [1, 2]
    assert [event["attempt"] for event in read_events(tmp_path / "r", "stop")] == [1, 2]


def test_crash_loop_is_an_event_and_a_state(tmp_path: Path) -> None:
    for _ in range(3):
        with pytest.raises(RuntimeError), open_run(config_for(tmp_path / "r"), [], reset_crash_loop=False):
            raise RuntimeError("boom")
    with pytest.raises(WeathermanError) as raised, open_run(config_for(tmp_path / "r"), [], reset_crash_loop=False):
        pass
    assert raised.value.exit_code == 2
    assert "boom" in raised.value.message
    assert [event["exit_code"] for event in read_events(tmp_path / "r", "crash-loop")] == [2]


def test_everything_but_what_may_change_is_frozen() -> None:
    frozen = frozen_facts(TrainingConfig(), data(), INFO)
    assert set(frozen["config"]) | MAY_CHANGE == set(TrainingConfig.model_fields)
    assert not set(frozen["config"]) & MAY_CHANGE
    assert json.loads(json.dumps(frozen)) == frozen


def identity(train: str = "d" * 64) -> DataIdentity:
    return DataIdentity(train, "t" * 64, "k" * 64)


def test_unchanged_run_goes_on_and_every_change_is_named(tmp_path: Path) -> None:
    frozen = json.loads(json.dumps(frozen_facts(TrainingConfig(), data(), INFO)))
    refuse_changes(frozen, TrainingConfig(run_name="another day", save_steps=7, hourly_rate=2.0), identity(), tmp_path)
    with pytest.raises(Problems) as raised:
        refuse_changes(frozen, TrainingConfig(seed=7, lora_r=32), identity("e" * 64), tmp_path)
    assert [problem.message for problem in raised.value.problems] == [
        "seed was 42 and is now 7.",
        "lora_r was 16 and is now 32.",
        "the content of data/synthetic/final_train.jsonl has changed (SHA-256 dddddddddddd, now eeeeeeeeeeee).",
    ]


def test_a_run_that_is_older_than_a_key_goes_on_with_its_default(tmp_path: Path) -> None:
    frozen = json.loads(json.dumps(frozen_facts(TrainingConfig(), data(), INFO)))
    del frozen["config"]["personas"]
    refuse_changes(frozen, TrainingConfig(), identity(), tmp_path)
    with pytest.raises(Problems) as raised:
        refuse_changes(frozen, TrainingConfig(personas=["satire"]), identity(), tmp_path)
    assert [problem.message for problem in raised.value.problems] == ["personas was [] and is now ['satire']."]


def test_decisions_of_the_first_attempt_are_kept() -> None:
    frozen = frozen_facts(TrainingConfig(), data(), INFO)
    config = apply_frozen(TrainingConfig(), frozen)
    assert (config.num_threads, config.max_tokens_per_chunk, config.sharing) == (2, 512, "on")


def test_other_hardware_or_packages_are_told(capsys: pytest.CaptureFixture[str]) -> None:
    frozen = frozen_facts(TrainingConfig(), data(), INFO)
    warn_of_differences(frozen, INFO)
    assert capsys.readouterr().out == ""
    frozen["versions"]["torch"] = "1.0"
    frozen["engine"]["device"] = "cuda"
    warn_of_differences(frozen, INFO)
    first, second = capsys.readouterr().out.splitlines()
    assert first.startswith("⚠️ WARNING: this run began with device cuda and goes on with cpu;")
    assert "torch 1.0 -> " in second


def test_facts_of_this_machine() -> None:
    assert {"torch", "transformers", "peft"} <= set(package_versions())
    assert (git_commit() or "0" * 40).removesuffix("-dirty").isalnum()


def test_state_starts_from_nothing(tmp_path: Path) -> None:
    with open_run(config_for(tmp_path / "r"), [], reset_crash_loop=False) as run:
        assert (run.resumed_step, run.last_step, run.finished) == (0, 0, False)
        assert isinstance(run.state, ResumeState)
        run.record_finished()
