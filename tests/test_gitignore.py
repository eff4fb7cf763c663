"""What git keeps out of the repository, asked of git itself."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
KEPT = (
    "data/synthetic/final_train.jsonl",
    "data/synthetic/final_validation.jsonl",
    "data/synthetic/merge_metadata.json",
    "data/README.md",
    "docs/images/run.png",
    "benchmarks/results/2026-01-01.json",
    "configs/my_config.yaml",
    "requirements-remote.txt",
    "src/weatherman/logs.py",
)
LEFT_OUT = (
    "data/synthetic/tool_use_examples.jsonl",
    "data/synthetic/tool_use_examples_v2.jsonl",
    "data/synthetic/draft.jsonl",
    "data/processed/train.jsonl",
    "models/model.safetensors",
    "models/mistral/config.json",
    "runs/demo/events.jsonl",
    "runs/h100/checkpoint-500/manifest.json",
    "runs/demo/wandb/offline-run-1/run.wandb",
    "logs/training_20260101_120000.log",
    "logs/training_m4_20260101_120000.log",
    ".venv/bin/python",
    ".venv-local/bin/python",
    ".venv-h100/bin/python",
    ".venv-h100",
    "wandb/latest-run",
    "trackio/weatherman-lora.db",
    "src/weatherman/__pycache__/cli.cpython-311.pyc",
    ".coverage",
    ".DS_Store",
    ".env",
)


@pytest.fixture(scope="module")
def repository(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An empty repository with our .gitignore and nobody else's."""
    folder = tmp_path_factory.mktemp("repository")
    subprocess.run(["git", "init", "--quiet", str(folder)], check=True, capture_output=True)
    shutil.copy(ROOT / ".gitignore", folder / ".gitignore")
    return folder


def is_ignored(repository: Path, path: str) -> bool:
    command = ["git", "-c", "core.excludesFile=/dev/null", "-C", str(repository), "check-ignore", "--quiet", path]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode in (0, 1), done.stderr
    return done.returncode == 0


@pytest.mark.parametrize("path", KEPT)
def test_kept(repository: Path, path: str) -> None:
    assert not is_ignored(repository, path)


@pytest.mark.parametrize("path", LEFT_OUT)
def test_left_out(repository: Path, path: str) -> None:
    assert is_ignored(repository, path)
