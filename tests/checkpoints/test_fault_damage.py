"""Damaged files: the cells that matter most always, the whole table, as docs/reliability.md shows it, when asked."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from damage_matrix import (
    FALLS_BACK,
    NO_LOCK,
    REFUSES,
    SAME,
    WARNS,
    Cell,
    bit_flipped,
    cells,
    empty,
    folder,
    missing,
    outcome,
    page,
    replaced,
    symlink,
    truncated,
)
from fault_runs import FaultRuns
from reliability_page import section

CHOSEN = [
    (Cell("checkpoint-9/optimizer.safetensors", missing), FALLS_BACK),
    (Cell("checkpoint-9/adapter_model.safetensors", bit_flipped), FALLS_BACK),
    (Cell("checkpoint-9/state.json", replaced), FALLS_BACK),
    (Cell("checkpoint-9/manifest.json", symlink), FALLS_BACK),
    (Cell("resume_metadata.json", truncated), REFUSES),
    (Cell("resume_metadata.json", missing), WARNS),
    (Cell("status.json", folder), WARNS),
    (Cell("events.jsonl", empty), SAME),
    (Cell("events.jsonl", bit_flipped), SAME),
    (Cell("run.json", folder), WARNS),
    (Cell("run.lock", symlink), NO_LOCK),
    (Cell("render cache", bit_flipped), WARNS),
]


@pytest.mark.parametrize(("cell", "expected"), CHOSEN, ids=[cell.name for cell, _ in CHOSEN])
def test_damage(fault_runs: FaultRuns, tmp_path: Path, cell: Cell, expected: str) -> None:
    assert outcome(fault_runs, cell, tmp_path / "run") == expected


def test_finished_run_whose_report_is_missing_gets_one(fault_runs: FaultRuns, tmp_path: Path) -> None:
    run = tmp_path / "run"
    shutil.copytree(fault_runs.whole, run)
    (run / "report.html").unlink()
    done = fault_runs.train(run)
    assert done.returncode == 0
    assert "This run is finished" in done.output
    assert fault_runs.difference(run) == ""


@pytest.mark.slow
def test_every_cell_is_as_documented(fault_runs: FaultRuns, tmp_path: Path) -> None:
    outcomes = {cell: outcome(fault_runs, cell, tmp_path / f"run-{number}") for number, cell in enumerate(cells())}
    assert {cell.name: text for cell, text in outcomes.items() if text.startswith("WRONG")} == {}
    assert page(outcomes) == section("damage")
