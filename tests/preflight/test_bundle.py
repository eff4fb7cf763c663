"""The file that a person may send: what it holds, and above all what it does not."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from command_line import weatherman
from weatherman.errors import WeathermanError
from weatherman.preflight.bundle import NUM_STEPS, make_bundle, write_bundle
from weatherman.preflight.finding import ok


def run_folder(root: Path) -> Path:
    events = [
        {"kind": "start", "time": "t", "run_id": "secret run", "argv": ["x"]},
        {
            "kind": "engine",
            "time": "t",
            "backend": "mlx 0.32.4",
            "device_name": "Apple M4",
            "max_tokens_per_chunk": 256,
        },
        *({"kind": "step", "time": "t", "step": step, "loss": 2.5, "note": "Anna's data"} for step in range(1, 130)),
        {"kind": "failure", "time": "t", "code": "engine.metal", "message": "Anna's data"},
    ]
    (root / "events.jsonl").write_text("".join(json.dumps(event) + "\n" for event in events))
    config = {"engine": "mlx", "lora_r": 16, "train_file": "/home/anna/rows.jsonl", "sample_prompts": ["Anna's data"]}
    (root / "run.json").write_text(json.dumps({"config": config}))
    return root


def test_it_holds_figures_and_no_texts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_TOKEN", "hf_abcdefghijklmnop")
    finding = ok("storage.place", f"{Path.home()}/runs, hf_abcdefghijklmnop")
    found = make_bundle([finding], run_folder(tmp_path))
    text = json.dumps(found)
    assert "Anna" not in text
    assert "anna" not in text
    assert "secret run" not in text
    assert "hf_abc" not in text
    assert found["findings"][0]["message"].startswith("~/runs, [redacted]")
    assert found["run"]["settings"] == {"engine": "mlx", "lora_r": 16}
    kinds = [event["kind"] for event in found["run"]["events"]]
    assert kinds.count("step") == NUM_STEPS
    assert found["run"]["events"][1]["backend"] == "mlx 0.32.4"
    assert found["run"]["events"][2] == {"kind": "step", "time": "t", "step": 1, "loss": 2.5}


def test_a_folder_without_a_run_and_a_place_that_cannot_be_written(tmp_path: Path) -> None:
    with pytest.raises(WeathermanError, match="holds no run"):
        write_bundle(tmp_path / "b.json", [], tmp_path)
    with pytest.raises(WeathermanError, match="cannot be written"):
        write_bundle(tmp_path / "none" / "b.json", [], None)


def test_the_command_writes_it(tmp_path: Path) -> None:
    target = tmp_path / "b.json"
    done = weatherman("doctor", "--env", "cpu", "--bundle", target, "--run", run_folder(tmp_path), cache=tmp_path)
    assert f"[PREFLIGHT] Written to {target}" in done.stdout, done.stdout + done.stderr
    found = json.loads(target.read_text())
    assert found["packages"]["numpy"]
    assert {finding["code"] for finding in found["findings"]} >= {"environment.python", "config.values"}
