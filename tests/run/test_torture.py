"""Random kills, briefly; `make torture` does hundreds."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from fault_runs import FaultRuns
from torture import Torture, torture


@pytest.mark.slow
def test_forty_random_kills(tmp_path: Path) -> None:
    tallies = torture(tmp_path, kills=40, seed=1, jobs=2, true_every=20)
    assert [text for tally in tallies for text in tally.wrong] == []
    assert sum(tally.kills for tally in tallies) == 40
    assert sum(tally.in_steps for tally in tallies) > 10


def test_few_random_kills(tmp_path: Path) -> None:
    (tally,) = torture(tmp_path, kills=3, seed=2, jobs=1, true_every=0)
    assert (tally.wrong, tally.kills, tally.runs) == ([], 3, 1)


def test_torture_finds_a_wrong_end(fault_runs: FaultRuns, tmp_path: Path) -> None:
    run = tmp_path / "run"
    shutil.copytree(fault_runs.whole, run)
    judge = Torture(tmp_path, fault_runs.config, fault_runs.whole, 1, 1, 0)
    judge.last_step = 12
    events = (run / "events.jsonl").read_text().replace('"loss": 6.2', '"loss": 6.3', 1)
    (run / "events.jsonl").write_text(events)
    (run / ".staging-3-1").mkdir()
    (run / "adapter" / "README.md").write_text("other")
    judge.check_end(run)
    assert [text.split(": ", 1)[1].split(" ")[0] for text in judge.tally.wrong] == ["the", "a", "left"]
    judge.tally.wrong.clear()
    (run / "checkpoint-12" / "state.json").write_text(json.dumps({}))
    judge.check_after_kill(run, 12)
    assert "does not verify" in judge.tally.wrong[0]
