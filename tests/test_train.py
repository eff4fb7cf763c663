"""The main job through the real command line: train, be killed, go on, and end with the same adapter bit for bit."""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from safetensors.numpy import load_file

from command_line import hashes, read_events, start, step_losses, wait_for, weatherman
from tiny_model import PERSONAS
from weatherman.messages import LINE
from weatherman.run.kept_task import task_hash
from weatherman.task.task import read_task

NUM_STEPS = 12


@pytest.fixture(scope="module")
def whole(tiny_source: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """An uninterrupted run and what it printed."""
    root = tmp_path_factory.mktemp("whole")
    config = tiny_source / "config.yaml"
    done = weatherman("train", "-c", config, "--set", f"output_dir={root}/run", cache=root / "cache")
    assert done.returncode == 0, done.stdout + done.stderr
    return root / "run", done.stdout


def train(config: Path, *more: str) -> tuple[Path, list[object], Path]:
    """The run folder, the arguments and the cache of a test's own run."""
    return config.parent / "run", ["train", "-c", config, *more], config.parent / "cache"


def assert_same_result(run: Path, whole: Path) -> None:
    assert hashes(run / "adapter") == hashes(whole / "adapter")
    assert step_losses(run) == step_losses(whole)
    left = {path.name for path in run.iterdir()} - {"quarantine"}
    assert left == {path.name for path in whole.iterdir()}


def test_run_prints_only_the_grammar_and_ends_with_the_adapter(whole: tuple[Path, str]) -> None:
    run, printed = whole
    lines = printed.splitlines()
    assert [line for line in lines if not LINE.match(line)] == []
    assert lines[-1] == f"✅ SUCCESS: The adapter is in {run / 'adapter'}"
    assert any(
        "22 conversations, each an example; " in line and "12 steps of 4 (2.0 epochs), 6 for validation" in line
        for line in lines
    )
    assert sum("loss" in line and "tokens/s" in line for line in lines) == NUM_STEPS


def test_run_folder_holds_what_it_should(whole: tuple[Path, str]) -> None:
    run, _ = whole
    expected = {
        "adapter", "checkpoint-9", "checkpoint-12", "effect.json", "events.jsonl", "progress.json", "report.html",
        "resume_metadata.json", "run.json", "status.json", "task.json",
    }  # fmt: skip
    assert {path.name for path in run.iterdir()} == expected
    assert {path.name for path in (run / "checkpoint-12").iterdir()} == {
        "adapter_config.json", "adapter_model.safetensors", "manifest.json", "optimizer.safetensors", "state.json",
    }  # fmt: skip
    adapter = load_file(run / "adapter" / "adapter_model.safetensors")
    assert all(name.startswith("base_model.model.model.layers.") for name in adapter)
    assert any(abs(tensor).max() > 0 for name, tensor in adapter.items() if "lora_B" in name)
    assert "<|im_start|>" in (run / "adapter" / "chat_template.jinja").read_text()
    task = read_task(run / "task.json")
    assert (run / "adapter" / "task.json").read_bytes() == (run / "task.json").read_bytes()
    assert task.personas[0].prompt == f"You are the {task.personas[0].name} weather reporter."
    assert (sorted(task.persona_names), task.questions) == (sorted(PERSONAS), ("Is it wet in Oslo?",))
    record = json.loads((run / "run.json").read_text())
    assert record["frozen"]["task"] == task_hash(task)
    assert record["overrides"] == [f"output_dir={run}"]
    assert record["config"]["lora_dropout"] == 0.1
    assert record["frozen"]["engine"]["num_threads"] == 1


def test_training_lowers_the_validation_loss(whole: tuple[Path, str]) -> None:
    losses = {event["step"]: event["loss"] for event in read_events(whole[0], "validation")}
    assert sorted(losses) == [0, 5, 10, 12]
    assert losses[12] < losses[10] < losses[0]


def test_finished_run_says_so_and_changes_nothing(whole: tuple[Path, str], tiny_source: Path) -> None:
    run, _ = whole
    before = {path: path.stat().st_mtime_ns for path in run.rglob("*")}
    command = ["train", "-c", tiny_source / "config.yaml", "--set", f"output_dir={run}"]
    again = weatherman(*command, cache=run.parent / "cache")
    assert again.returncode == 0
    assert again.stdout == f"✅ SUCCESS: This run is finished; its adapter is in {run / 'adapter'}\n"
    assert {path: path.stat().st_mtime_ns for path in run.rglob("*")} == before


@pytest.mark.parametrize(
    ("overrides", "told"),
    [
        (["lora_r=16", "lora_alpha=32"], ["lora_r was 8 and is now 16.", "lora_alpha was 16 and is now 32."]),
        (["max_steps=3"], ["max_steps was None and is now 3."]),
        (["train_file={other}"], ["the content of {other} has changed (SHA-256 "]),
        (["train_file={missing}"], ["there is no data file {missing}. Hint: check its name, "]),
    ],
)
def test_finished_run_is_not_taken_for_another_one(
    whole: tuple[Path, str], tiny_source: Path, tmp_path: Path, overrides: list[str], told: list[str]
) -> None:
    run, _ = whole
    before = {path: path.stat().st_mtime_ns for path in run.rglob("*")}
    other = tmp_path / "other.jsonl"
    other.write_text("".join((tiny_source / "train.jsonl").read_text().splitlines(keepends=True)[:-1]))
    names = {"other": other, "missing": tmp_path / "none.jsonl"}
    command: list[object] = ["train", "-c", tiny_source / "config.yaml", "--set", f"output_dir={run}"]
    for override in overrides:
        command += ["--set", override.format(**names)]
    refused = weatherman(*command, cache=run.parent / "cache")
    assert refused.returncode == 1, refused.stdout
    lines = refused.stdout.splitlines()
    assert [line for line in lines if not line.startswith("❌ ERROR: ")] == []
    for line, text in zip(lines[: len(told)], told, strict=True):
        assert line.startswith(f"❌ ERROR: {text.format(**names)}")
    assert "missing" in overrides[0] or "--new-run" in lines[-1]
    assert {path: path.stat().st_mtime_ns for path in run.rglob("*")} == before


def test_finished_run_whose_record_is_damaged_is_still_compared(whole: tuple[Path, str], tiny: Path) -> None:
    run = tiny.parent / "run"
    shutil.copytree(whole[0], run)
    (run / "run.json").write_text("{")
    refused = weatherman("train", "-c", tiny, "--set", "seed=1", cache=tiny.parent / "cache")
    assert refused.returncode == 1
    assert "seed was 42 and is now 1." in refused.stdout
    for checkpoint in run.glob("checkpoint-*"):
        shutil.rmtree(checkpoint)
    unknown = weatherman("train", "-c", tiny, "--set", "seed=1", cache=tiny.parent / "cache")
    assert unknown.returncode == 0
    assert unknown.stdout.startswith("⚠️ WARNING: ")
    assert "nothing can be compared" in unknown.stdout


def test_killed_at_several_steps_it_ends_with_the_same_adapter(tiny: Path, whole: tuple[Path, str]) -> None:
    run, command, cache = train(tiny)
    for kill_after in (2, 5, 10):
        process = start(*command, cache=cache)
        wait_for(lambda after=kill_after: max(step_losses(run), default=0) >= after, process)
        process.kill()
        process.wait()
    done = weatherman(*command, cache=cache)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "⚠️ RESUME: Found checkpoint at step 9. Resuming training." in done.stdout.splitlines()
    assert_same_result(run, whole[0])


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130), (signal.SIGHUP, 129)])
def test_signal_saves_and_leaves_with_its_code(
    tiny: Path, whole: tuple[Path, str], number: signal.Signals, code: int
) -> None:
    run, command, cache = train(tiny)
    process = start(*command, cache=cache)
    wait_for(lambda: bool(step_losses(run)), process)
    process.send_signal(number)
    printed, _ = process.communicate(timeout=600)
    assert process.returncode == code, printed
    stopped = max(step_losses(run))
    assert (run / f"checkpoint-{stopped}" / "manifest.json").is_file()
    assert json.loads((run / "status.json").read_text())["state"] == "stopped"
    assert json.loads((run / "resume_metadata.json").read_text())["clean_stop"] is True
    if number is signal.SIGTERM:
        assert weatherman(*command, cache=cache).returncode == 0
        assert hashes(run / "adapter") == hashes(whole[0] / "adapter")


def test_changed_configuration_or_data_refuses_to_resume_and_names_it(tiny: Path) -> None:
    run, command, cache = train(tiny, "--set", "max_steps=4")
    process = start(*command, cache=cache)
    wait_for(lambda: (run / "checkpoint-3").is_dir(), process)
    process.kill()
    process.wait()
    with (tiny.parent / "train.jsonl").open("a") as file:
        file.write((tiny.parent / "train.jsonl").read_text().splitlines()[0] + "\n")
    changed = weatherman(*command, "--set", "learning_rate=1e-3", cache=cache)
    assert changed.returncode == 1
    assert "learning_rate was 0.005 and is now 0.001." in changed.stdout
    assert f"the content of {tiny.parent}/train.jsonl has changed" in changed.stdout
    assert "--set output_dir=" in changed.stdout.splitlines()[-1]
    assert (run / "checkpoint-3" / "manifest.json").is_file()


@pytest.mark.parametrize("override", ["train_file=my_chats.jsonl", "validation_file=my_chats.jsonl", "lora_r=3"])
def test_a_start_that_cannot_begin_leaves_no_folder(tiny: Path, tmp_path: Path, override: str) -> None:
    command = ["train", "-c", tiny, "--set", "output_dir=runs/mine", "--set", override]
    words = [sys.executable, "-m", "weatherman.cli", *map(str, command)]
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    done = subprocess.run(words, cwd=elsewhere, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "❌ ERROR: " in done.stdout
    assert "processed" not in done.stdout
    assert list(elsewhere.iterdir()) == []


def test_new_run_goes_on_with_an_unfinished_one_only(tiny: Path) -> None:
    _, command, cache = train(tiny, "--new-run", "--set", "max_steps=4", "--set", "eval_steps=null")
    first = start(*command, cache=cache)
    wait_for(lambda: any(tiny.parent.glob("run-*/checkpoint-3")), first)
    first.kill()
    first.wait()
    for _ in range(2):
        assert weatherman(*command, cache=cache).returncode == 0
    runs = sorted(tiny.parent.glob("run-*"))
    assert len(runs) == 2
    assert [len(read_events(run, "resume")) for run in runs] == [1, 0]


def test_second_trainer_is_refused(tiny: Path) -> None:
    run, command, cache = train(tiny, "--set", "num_train_epochs=50")
    first = start(*command, cache=cache)
    try:
        wait_for(lambda: bool(step_losses(run)), first)
        second = weatherman(*command, cache=cache)
        assert second.returncode == 1
        assert second.stdout.startswith(f"❌ ERROR: another trainer works in {run}: process {first.pid} on ")
        assert first.poll() is None
    finally:
        first.kill()
        first.wait()


def test_loss_that_is_not_finite_stops_before_the_update(tiny: Path) -> None:
    from safetensors.numpy import save_file

    weights = tiny.parent / "model" / "model.safetensors"
    tensors = load_file(weights)
    tensors["model.norm.weight"][0] = float("nan")
    save_file(tensors, weights, metadata={"format": "pt"})
    run, command, cache = train(tiny, "--set", f"model_name_or_path={tiny.parent}/model")
    failed = weatherman(*command, cache=cache)
    assert failed.returncode == 1
    assert "Traceback" not in failed.stdout + failed.stderr
    assert not list(run.glob("checkpoint-*"))
    assert json.loads((run / "status.json").read_text())["state"] == "failed"


def test_checkpoint_with_a_flipped_bit_is_set_aside(tiny: Path, whole: tuple[Path, str]) -> None:
    run = tiny.parent / "run"
    shutil.copytree(whole[0], run)
    shutil.rmtree(run / "adapter")
    metadata = run / "resume_metadata.json"
    metadata.write_text(metadata.read_text().replace('"finished": true', '"finished": false'))
    optimizer = run / "checkpoint-12" / "optimizer.safetensors"
    data = bytearray(optimizer.read_bytes())
    data[-7] ^= 1
    optimizer.write_bytes(bytes(data))
    done = weatherman("train", "-c", tiny, cache=tiny.parent / "cache")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "⚠️ WARNING: checkpoint-12 cannot be used: the content of optimizer.safetensors" in done.stdout
    assert "⚠️ RESUME: Found checkpoint at step 9. Resuming training." in done.stdout
    assert (run / "quarantine" / "checkpoint-12" / "optimizer.safetensors").is_file()
    assert hashes(run / "adapter") == hashes(whole[0] / "adapter")
