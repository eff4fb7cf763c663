"""Faults at single system calls, by strace: the order of the calls, and a sample of the walk in syscall_walk.py."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from fault_runs import FaultRuns
from syscall_walk import DIED, FAULTS, SETTINGS, Call, calls_on, order_problems, outcome, trace

pytestmark = pytest.mark.skipif(shutil.which("strace") is None, reason="needs strace")


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Iterator[FaultRuns]:
    made = FaultRuns(tmp_path_factory.mktemp("walk"), SETTINGS)
    yield made
    made.close()


@pytest.fixture(scope="module")
def calls(runs: FaultRuns) -> list[Call]:
    run = runs.died(DIED, runs.root / "traced")
    assert trace(runs, run, runs.root / "trace.log").returncode == 0
    return calls_on(run, runs.root / "trace.log")


def sample(calls: list[Call], fault: str) -> list[Call]:
    """The calls of the save that decide most: the renames, the last fsync, a write."""
    renames = [call for call in calls if call.name == "rename" and "manifest.json" in call.text][:1]
    final = [call for call in calls if call.name == "rename" and 'RUN/checkpoint-9"' in call.text]
    written = [call for call in calls if call.name == "write" and "RUN/.staging-9-" in call.text][:1]
    return {"KILL": [*renames, *final, *written], "ENOSPC": [*written], "EIO": [*final]}[fault]


def test_order_of_the_calls_survives_a_power_cut(calls: list[Call]) -> None:
    assert len(calls) > 150
    assert order_problems(calls, 9) == []


def test_order_check_finds_a_missing_fsync(calls: list[Call]) -> None:
    without = [call for call in calls if not (call.name == "fsync" and "/optimizer.safetensors>" in call.text)]
    assert order_problems(without, 9) == ["optimizer.safetensors is not forced to the disk before the manifest"]
    without = [call for call in calls if not (call.name == "fsync" and "<RUN>" in call.text)]
    assert order_problems(without, 9) == ["the run's folder is not forced to the disk after the rename"]


# The kill is often not delivered at the wanted call of a whole life; tests/test_checkpoint.py kills a save at every call.
@pytest.mark.parametrize("fault", [pytest.param("KILL", marks=pytest.mark.slow), "ENOSPC", "EIO"])
def test_fault_at_a_call_of_the_save(runs: FaultRuns, calls: list[Call], tmp_path: Path, fault: str) -> None:
    chosen = sample(calls, fault)
    assert chosen
    expected = "died" if fault == "KILL" else "said so, exit 1"
    for number, call in enumerate(chosen):
        # Threads make the count of a life's calls vary by a few: one that was not hit is tried again.
        tries = (
            outcome(runs, call, fault, tmp_path / f"run-{number}-{again}", tmp_path / "life.log") for again in range(6)
        )
        assert next((result for result in tries if result != "missed"), "missed") == expected


@pytest.mark.slow
@pytest.mark.parametrize("fault", FAULTS)
def test_every_ninth_call_of_a_life(runs: FaultRuns, calls: list[Call], tmp_path: Path, fault: str) -> None:
    results = {}
    for number, call in enumerate(calls[FAULTS.index(fault) :: 9]):
        results[call] = outcome(runs, call, fault, tmp_path / f"run-{number}", tmp_path / "life.log")
    assert {call: text for call, text in results.items() if text.startswith("WRONG")} == {}
    assert sum(text == "missed" for text in results.values()) <= 2
