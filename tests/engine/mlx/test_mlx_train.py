"""`weatherman train` on MLX through the real command line: killed, resumed bit for bit, and continued by torch."""

from __future__ import annotations

import json
import random
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file

from command_line import hashes, read_events, start, step_losses, wait_for, weatherman
from tiny_model import write_setting

pytest.importorskip("mlx.core")
pytest.importorskip("mlx_lm")

NUM_STEPS = 12


@pytest.fixture(scope="module", params=["4bit", pytest.param("none", marks=pytest.mark.slow)])
def setting(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    root = tmp_path_factory.mktemp(request.param)
    config = write_setting(root, hidden_size=64)
    return config, request.param


def test_killed_at_random_it_ends_with_the_same_adapter(setting: tuple[Path, str], tmp_path: Path) -> None:
    config, quantization = setting
    common = ["train", "-c", config, "--set", "engine=mlx", "--set", f"quantization={quantization}"]
    whole, cut = tmp_path / "whole", tmp_path / "cut"
    done = weatherman(*common, "--set", f"output_dir={whole}", cache=tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "no future token leaks" in done.stdout
    process = start(*common, "--set", f"output_dir={cut}", cache=tmp_path)
    kill_after = random.randrange(1, NUM_STEPS - 1)
    wait_for(lambda: max(step_losses(cut), default=0) >= kill_after, process)
    process.kill()
    process.wait()
    done = weatherman(*common, "--set", f"output_dir={cut}", cache=tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    assert hashes(cut / "adapter") == hashes(whole / "adapter")
    assert step_losses(cut) == step_losses(whole)
    assert json.loads((whole / "run.json").read_text())["frozen"]["engine"]["name"] == "mlx"
    losses = {event["step"]: event["loss"] for event in read_events(whole, "validation")}
    assert losses[NUM_STEPS] < losses[0]


@pytest.mark.slow
def test_torch_goes_on_with_it_and_says_so(tmp_path: Path) -> None:
    config = write_setting(tmp_path)
    expected = tmp_path / "torch"
    done = weatherman("train", "-c", config, "--set", f"output_dir={expected}", cache=tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    process = start("train", "-c", config, "--set", "engine=mlx", cache=tmp_path)
    wait_for((tmp_path / "run" / "checkpoint-3" / "manifest.json").exists, process)
    process.kill()
    process.wait()
    done = weatherman("train", "-c", config, "--set", "engine=torch", cache=tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "⚠️ WARNING: this run began with the engine mlx and goes on with torch" in done.stdout
    found, whole = (load_file(run / "adapter" / "adapter_model.safetensors") for run in (tmp_path / "run", expected))
    for name, tensor in found.items():
        np.testing.assert_allclose(tensor, whole[name], atol=5e-3)
