"""Real trackers of real runs: runs can be compared, and what is measured after training reaches each of them."""

from __future__ import annotations

import json
import os
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from command_line import read_events
from fault_runs import FaultRuns
from weatherman.messages import LINE

AFTER_TRAINING = {
    "validation/loss", "effect/validation_loss_before", "effect/validation_loss_after", "effect/valid_tool_calls_before",
    "effect/valid_tool_calls_after", "effect/right_tool_before", "effect/right_tool_after",
}  # fmt: skip
MEASURED = ("--set", "num_tool_eval_prompts=2", "--set", 'sample_prompts=["Is it wet in Oslo?"]')
NUM_STEPS, STEPS_PER_EPOCH = 12, 6


def train(fault_runs: FaultRuns, run: Path, kind: str, *more: str, **environment: str) -> str:
    done = fault_runs.train(run, "--set", f"report_to={kind}", *MEASURED, *more, **environment)
    assert done.returncode == 0, done.output
    assert [line for line in done.output.splitlines() if "WARNING" in line and "Little was learned" not in line] == []
    assert [line for line in done.output.splitlines() if line and not LINE.match(line)] == []
    return done.output


def printed_command(output: str) -> str:
    (line,) = [line for line in output.splitlines() if "Look at this run beside the others: " in line]
    return line.partition("others: ")[2]


def effects(run: Path) -> dict[str, Any]:
    return json.loads((run / "effect.json").read_text())


def trackio(command: str, *arguments: str) -> Any:
    """Ask trackio itself about the store that the printed command names."""
    store, program, show, *rest = shlex.split(command)
    assert (program, show, rest[0]) == ("trackio", "show", "--project")
    done = subprocess.run(
        [str(Path(sys.executable).with_name("trackio")), *arguments, *rest, "--json"], capture_output=True, text=True,
        env={**os.environ, "TRACKIO_DIR": store.partition("=")[2]}, check=True,
    )  # fmt: skip
    return json.loads(done.stdout)


def test_runs_share_a_trackio_store_that_the_printed_command_shows(fault_runs: FaultRuns, tmp_path: Path) -> None:
    pytest.importorskip("trackio")
    runs = [tmp_path / "one", tmp_path / "two"]
    commands = {printed_command(train(fault_runs, run, "trackio", "--set", f"run_name={run.name}")) for run in runs}
    (command,) = commands
    names = [run["name"] if isinstance(run, dict) else run for run in trackio(command, "list", "runs")["runs"]]
    assert sorted(name.partition("-")[0] for name in names) == ["one", "two"]
    first = next(name for name in names if name.startswith("one"))
    values = trackio(command, "get", "metric", "--run", first, "--metric", "train/epoch")["values"]
    assert [entry["value"] for entry in values][-1] == NUM_STEPS / STEPS_PER_EPOCH
    assert values[0]["value"] == pytest.approx(1 / STEPS_PER_EPOCH)
    metrics = set(trackio(command, "list", "metrics", "--run", first)["metrics"])
    assert metrics >= AFTER_TRAINING
    (event,) = read_events(runs[0], "tracker")
    assert (event["tracker"], event["command"]) == ("trackio", command)


def read_tensorboard(run: Path) -> Any:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    return EventAccumulator(str(run / "tensorboard")).Reload()


def test_tensorboard_has_every_step_and_what_is_measured_after_training(fault_runs: FaultRuns, tmp_path: Path) -> None:
    pytest.importorskip("tensorboardX")
    run = tmp_path / "run"
    command = printed_command(train(fault_runs, run, "tensorboard"))
    assert command == f"tensorboard --logdir {tmp_path}"
    board = read_tensorboard(run)
    losses = {event["step"]: event["loss"] for event in read_events(run, "step")}
    assert {point.step: point.value for point in board.Scalars("train/loss")} == pytest.approx(losses)
    assert [point.value for point in board.Scalars("train/epoch")] == pytest.approx(
        [step / STEPS_PER_EPOCH for step in range(1, NUM_STEPS + 1)]
    )
    assert set(board.Tags()["scalars"]) >= AFTER_TRAINING
    measured = effects(run)["after"]
    assert board.Scalars("validation/loss")[-1].value == pytest.approx(measured["validation_loss"])
    assert board.Scalars("validation/loss")[-1].step == NUM_STEPS
    (sample,) = board.Tensors("samples/1/text_summary")
    text = sample.tensor_proto.string_val[0].decode()
    assert measured["samples"][0]["prompt"] in text
    assert "**before**" in text


@pytest.mark.parametrize("kind", ["wandb", "trackio", "tensorboard"])
def test_what_is_measured_after_training_reaches_every_tracker(
    fault_runs: FaultRuns, tmp_path: Path, kind: str
) -> None:
    """The openers are given stand-ins; what arrives there is what `effect.json` holds."""
    heard = tmp_path / "heard.jsonl"
    prelude = f"""
import json, weatherman.run.trackers as trackers
heard = open({str(heard)!r}, "a", buffering=1)
tell = lambda *what: heard.write(json.dumps(what) + chr(10))
stand_in = trackers.Opened("stand-in", None, None, lambda step, metrics: tell("log", step, metrics),
    lambda step, name, rows: tell("table", step, name, rows), lambda code: tell("finish", code))
trackers.OPENERS[{kind!r}] = lambda wanted: stand_in
"""
    run = tmp_path / "run"
    done = fault_runs.train(run, "--set", f"report_to={kind}", *MEASURED, prelude=prelude)
    assert done.returncode == 0, done.output
    calls = [json.loads(line) for line in heard.read_text().splitlines()]
    assert calls[-1] == ["finish", 0]
    before, after = effects(run)["before"], effects(run)["after"]
    (step, metrics) = calls[-3][1:]
    assert (step, set(metrics)) == (NUM_STEPS, AFTER_TRAINING)
    assert metrics["validation/loss"] == after["validation_loss"]
    assert metrics["effect/validation_loss_before"] == before["validation_loss"]
    assert metrics["effect/right_tool_after"] == after["tools"]["num_right_tool"] / after["tools"]["num_prompts"]
    assert calls[-2][:3] == ["table", NUM_STEPS, "samples"]
    assert [row["after"] for row in calls[-2][3]] == [sample["answer"] for sample in after["samples"]]


def test_a_missing_package_is_told_before_anything_is_read(fault_runs: FaultRuns, tmp_path: Path) -> None:
    run = tmp_path / "run"
    done = fault_runs.train(run, "--set", "report_to=wandb", prelude="import sys; sys.modules['wandb'] = None")
    assert done.returncode == 0, done.output
    warnings = [line for line in done.output.splitlines() if "WARNING" in line]
    assert len(warnings) == 1
    assert "report_to is wandb and the package wandb is not installed here" in warnings[0]
    assert done.output.splitlines()[0] == warnings[0]
    assert fault_runs.difference(run) == ""
