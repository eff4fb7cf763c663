"""Faults at single system calls, by strace: the order of the calls, and a sample of the walk in syscall_walk.py."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from fault_runs import FaultRuns
from syscall_walk import (
    DIED_THERE,
    FAULTS,
    MISSED,
    SETTINGS,
    TOLD,
    Call,
    counted_anew,
    order_problems,
    outcome,
    outcome_of_tries,
    plain_trace,
    was_hit,
)

pytestmark = pytest.mark.skipif(shutil.which("strace") is None, reason="needs strace")


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Iterator[FaultRuns]:
    made = FaultRuns(tmp_path_factory.mktemp("walk"), SETTINGS)
    yield made
    made.close()


@pytest.fixture(scope="module")
def calls(runs: FaultRuns) -> list[Call]:
    return plain_trace(runs, runs.root / "traced", runs.root / "trace.log")


def sample(calls: list[Call], fault: str) -> list[Call]:
    """The calls of the save that decide most: the renames, a write; and the weights, once they are verified."""
    renames = [call for call in calls if call.name == "rename" and "manifest.json" in call.text][:1]
    final = [call for call in calls if call.name == "rename" and 'RUN/checkpoint-9"' in call.text]
    written = [call for call in calls if call.name == "write" and "RUN/.staging-9-" in call.text][:1]
    weights = [call for call in calls if call.name == "openat" and "RUN/checkpoint-6/adapter_model" in call.text][1:3]
    return {"KILL": [*renames, *final, *written], "ENOSPC": [*written], "EIO": [*weights, *final]}[fault]


def test_order_of_the_calls_survives_a_power_cut(calls: list[Call]) -> None:
    assert len(calls) > 150
    assert order_problems(calls, 9) == []


def test_order_check_finds_a_missing_fsync(calls: list[Call]) -> None:
    without = [call for call in calls if not (call.name == "fsync" and "/optimizer.safetensors>" in call.text)]
    assert order_problems(without, 9) == ["optimizer.safetensors is not forced to the disk before the manifest"]
    without = [call for call in calls if not (call.name == "fsync" and "<RUN>" in call.text)]
    assert order_problems(without, 9) == ["the run's folder is not forced to the disk after the rename"]


@pytest.mark.parametrize("fault", FAULTS)
def test_fault_at_a_call_of_the_save(runs: FaultRuns, calls: list[Call], tmp_path: Path, fault: str) -> None:
    chosen = [calls.index(call) for call in sample(calls, fault)]
    assert chosen
    for number in chosen:
        result = outcome_of_tries(runs, calls, number, fault, tmp_path / f"run-{number}", tmp_path / "life.log")
        assert result == (DIED_THERE if fault == "KILL" else TOLD)


def test_another_call_than_the_wanted_one_is_no_hit(runs: FaultRuns, calls: list[Call], tmp_path: Path) -> None:
    wanted = sample(calls, "ENOSPC")[0]
    other = Call(wanted.name, wanted.nth - 1, wanted.text)
    assert outcome(runs, other, "ENOSPC", tmp_path / "run", tmp_path / "life.log") == MISSED


def test_calls_are_counted_anew_when_others_come_between() -> None:
    before = [
        Call("write", 3, "4<RUN/.a.11.0.tmp>, 5) = 5"),
        Call("write", 4, "4<RUN/.a.11.1.tmp>"),
        Call("fsync", 1, "4<RUN>"),
    ]
    later = [Call("write", 5, "4<RUN/.a.12.0.tmp>, 7 <unfinished ...>"), Call("write", 6, "4<RUN/.a.12.9.tmp>")]
    assert counted_anew(before, later) == [*later, before[2]]


def test_a_call_cut_in_two_by_another_thread_is_recognised(tmp_path: Path) -> None:
    log = tmp_path / "life.log"
    log.write_text(
        f'11 rename("{tmp_path}/.status.json.11.4.tmp", "{tmp_path}/status.json") = 0\n'
        f'11 rename("{tmp_path}/.staging-9-11", "{tmp_path}/checkpoint-9" <unfinished ...>\n'
        "12 +++ killed by SIGKILL +++\n11 <... rename resumed>)             = ?\n11 +++ killed by SIGKILL +++\n"
    )
    wanted = Call("rename", 2, '"RUN/.staging-9-77", "RUN/checkpoint-9") = 0')
    assert was_hit(wanted, "KILL", tmp_path, log)
    assert not was_hit(wanted, "EIO", tmp_path, log)
    assert not was_hit(Call("rename", 1, wanted.text), "KILL", tmp_path, log)


def test_what_a_call_names_is_the_same_whether_it_was_finished_or_not() -> None:
    asked = 'AT_FDCWD</work>, "RUN/.status.json.{pid}.2.tmp", O_WRONLY|O_CREAT|O_TRUNC|O_CLOEXEC, 0644'
    finished = Call("openat", 3, asked.format(pid=41) + ") = 4<RUN/.status.json.41.2.tmp>")
    cut = Call("openat", 3, asked.format(pid=57) + " <unfinished ...>")
    assert finished.paths == cut.paths == ("RUN/.status.json.tmp",)


@pytest.mark.slow
@pytest.mark.parametrize("fault", FAULTS)
def test_every_fifteenth_call_of_a_life(runs: FaultRuns, calls: list[Call], tmp_path: Path, fault: str) -> None:
    results = {
        number: outcome_of_tries(runs, calls, number, fault, tmp_path / f"run-{number}", tmp_path / "life.log")
        for number in range(5 * FAULTS.index(fault), len(calls), 15)
    }
    assert {calls[number]: text for number, text in results.items() if text.startswith("WRONG") or text == MISSED} == {}
