"""Shared set-up of the tests."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from hypothesis import settings

from command_line import hear_signals

if TYPE_CHECKING:
    from fault_runs import FaultRuns

os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("OMP_NUM_THREADS", "1")

hear_signals()

settings.register_profile("any machine", deadline=None)  # a busy machine is no failure
settings.load_profile("any machine")


@pytest.fixture(scope="session")
def tiny_source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny training setting, written once; do not change it."""
    from tiny_model import write_setting

    root = tmp_path_factory.mktemp("tiny") / "setting"
    write_setting(root)
    return root


@pytest.fixture
def tiny(tiny_source: Path, tmp_path: Path) -> Path:
    """The configuration file of a tiny training setting of this test's own; only the model's path is everybody's."""
    from tiny_model import CONFIG

    root = tmp_path / "tiny setting"
    shutil.copytree(tiny_source, root, ignore=shutil.ignore_patterns("run"))
    config = root / "config.yaml"
    text = CONFIG.format(root=root).replace(f"{root}/model", f"{tiny_source}/model")
    config.write_text(text, encoding="utf-8")
    return config


@pytest.fixture(scope="session")
def fault_runs(tmp_path_factory: pytest.TempPathFactory) -> Iterator[FaultRuns]:
    """A tiny setting, its untouched run and a fork server: what the fault tests start from."""
    from fault_runs import FaultRuns

    runs = FaultRuns(tmp_path_factory.mktemp("faults"))
    yield runs
    runs.close()
