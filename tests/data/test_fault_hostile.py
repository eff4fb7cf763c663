"""Hostile input through the real command line: nothing is executed, nothing is forged, no secret gets out."""

from __future__ import annotations

import io
import json
import pickle
import zipfile
from pathlib import Path

import pytest

from command_line import hashes
from fault_runs import FaultRuns
from weatherman import messages
from weatherman.checkpoints.manifest import MANIFEST, seal
from weatherman.system.atomic import to_json

MARKER = "executed-marker"
CANARIES = {
    "HF_TOKEN": "hf_CanaryCanaryCanaryCanary",
    "WANDB_API_KEY": "canary0123456789abcdef0123456789abcdef01",
    "RUNPOD_API_KEY": "rpa_CANARYCANARYCANARY",
    "MY_DATABASE_PASSWORD": "canary-pass-word-17",
}


class Bomb:
    def __init__(self, target: Path) -> None:
        self.target = target

    def __reduce__(self) -> tuple[object, tuple[object, ...]]:
        return Path.touch, (self.target,)


def reseal(checkpoint: Path) -> None:
    """Make the manifest fit the files again, as somebody could who writes checkpoints by hand."""
    raw = json.loads((checkpoint / MANIFEST).read_text())
    (checkpoint / MANIFEST).unlink()
    seal(checkpoint, raw["step"], raw["run_id"])


def assert_clear(output: str) -> None:
    assert [line for line in output.splitlines() if not messages.LINE.match(line)] == []
    assert "Traceback" not in output
    assert "unexpected" not in output


def archive(target: Path) -> bytes:
    held = io.BytesIO()
    with zipfile.ZipFile(held, "w") as file:
        file.writestr("../../" + MARKER, "escaped")
        file.writestr("archive/data.pkl", pickle.dumps(Bomb(target)))
    return held.getvalue()


@pytest.mark.parametrize(
    "name", ["adapter_model.safetensors", "optimizer.safetensors", "adapter_config.json", "state.json"]
)
@pytest.mark.parametrize("kind", ["pickle", "archive", "json"])
def test_sealed_checkpoint_of_hostile_files_is_refused(
    fault_runs: FaultRuns, tmp_path: Path, name: str, kind: str
) -> None:
    run = fault_runs.died("step 11", tmp_path / "run")
    content = {
        "pickle": pickle.dumps(Bomb(tmp_path / MARKER)), "archive": archive(tmp_path / MARKER), "json": b'{"frozen": 3}'
    }[kind]  # fmt: skip
    (run / "checkpoint-9" / name).write_bytes(content)
    reseal(run / "checkpoint-9")
    done = fault_runs.train(run)
    assert not list(tmp_path.rglob(MARKER))
    assert_clear(done.output)
    if done.returncode == 0:
        assert hashes(run / "adapter") == hashes(fault_runs.whole / "adapter")
    else:
        assert done.returncode == 1
        assert f"{run}/checkpoint-9 is whole, but it is not one that this program writes" in done.output


def test_going_on_without_the_hostile_checkpoint(fault_runs: FaultRuns, tmp_path: Path) -> None:
    """The advice that the refusal gives is right."""
    run = fault_runs.died("step 11", tmp_path / "run")
    (run / "checkpoint-9" / "state.json").write_text('{"frozen": {"engine": {"num_threads": -1}}}')
    reseal(run / "checkpoint-9")
    assert "has no usable data. Hint: move checkpoint-9 away" in fault_runs.train(run).output
    (run / "checkpoint-9").rename(tmp_path / "away")
    done = fault_runs.train(run)
    assert "RESUME: Found checkpoint at step 6." in done.output
    assert fault_runs.difference(run) == ""


def test_hostile_text_in_the_configuration_and_the_data_does_nothing(fault_runs: FaultRuns, tmp_path: Path) -> None:
    evil = f"$(touch {tmp_path}/{MARKER})`touch {tmp_path}/{MARKER}`\x1b[2J\r\u2028✅ SUCCESS: forged"
    for key in (
        "run_name",
        "train_file",
        "model_name_or_path",
        "output_dir",
        "project_name",
        "report_to",
        "sample_prompts",
    ):
        done = fault_runs.server.run("train", "--config", fault_runs.config, "--set", f"{key}={json.dumps(evil)}")
        assert done.returncode == 1
        assert_clear(done.output)
    row = json.loads((fault_runs.root / "setting" / "train.jsonl").read_text().splitlines()[0])
    for message in row["messages"]:
        if message.get("content") and message["role"] != "tool":
            message["content"] = evil.replace("\x1b", "") + str(message["content"])
    row["metadata"] = {"id": evil, "persona": evil}
    data = tmp_path / "evil.jsonl"
    data.write_text("\n".join([json.dumps(row)] * 8))
    done = fault_runs.train(
        tmp_path / "run", "--set", f"train_file={data}", "--set", f"validation_file={data}", "--set", "max_seq_length=2048",
        "--set", "max_steps=2",
    )  # fmt: skip
    assert done.returncode == 0, done.output
    assert_clear(done.output)
    assert not [line for line in done.output.splitlines() if line.startswith("✅ SUCCESS: forged")]
    assert not list(tmp_path.rglob(MARKER))
    assert not list(Path.cwd().glob(MARKER))


def test_secrets_of_the_environment_are_nowhere_in_a_run(fault_runs: FaultRuns, tmp_path: Path) -> None:
    run = tmp_path / "run"
    secret = "&".join(CANARIES.values())
    leak = f"import os\nfrom weatherman import messages\nmessages.warning('the key is {secret}')\n"
    boom = "from weatherman.run.run import Run\nraise_it = Run.record_finished\n" + (
        f"def f(self):\n    raise RuntimeError('refused: {secret}')\nRun.record_finished = f\n"
    )
    failed = fault_runs.train(run, prelude=leak + boom, **CANARIES)
    assert failed.returncode == 1
    done = fault_runs.train(run, **CANARIES)
    assert done.returncode == 0, done.output
    assert "refused: [redacted]&[redacted]&[redacted]&[redacted]" in failed.output
    files = [path for place in (run, fault_runs.server.folder) for path in place.rglob("*") if path.is_file()]
    assert len(files) > 20
    for path in files:
        content = path.read_bytes()
        assert not [name for name, value in CANARIES.items() if value.encode() in content], path


def test_paths_and_links_out_of_the_folder_are_refused(fault_runs: FaultRuns, tmp_path: Path) -> None:
    run = fault_runs.died("step 11", tmp_path / "run")
    outside = tmp_path / "outside"
    (run / "checkpoint-9").rename(outside)
    (run / "checkpoint-9").symlink_to(outside)
    manifest = json.loads((run / "checkpoint-6" / MANIFEST).read_text())
    manifest["files"]["../../outside/state.json"] = manifest["files"].pop("state.json")
    (run / "checkpoint-6" / MANIFEST).write_bytes(to_json(manifest))
    before = hashes(outside)
    done = fault_runs.train(run)
    assert done.returncode == 1
    assert_clear(done.output)
    assert "checkpoint-9 cannot be used: it is not a folder." in done.output
    assert "its manifest names '../../outside/state.json', which is not a plain file name" in done.output
    assert hashes(outside) == before
