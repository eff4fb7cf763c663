"""What a run has cost: one figure from its folder, whatever asks for it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from weatherman.run.spending import Spending, money, read_spending, seconds_of


def at(minute: int) -> str:
    return f"2026-03-01T10:{minute:02d}:00.000+00:00"


def write_run(folder: Path, *events: tuple[int, int, dict[str, Any]]) -> None:
    lines = [json.dumps({"time": at(minute), "attempt": attempt, **event}) for minute, attempt, event in events]
    (folder / "events.jsonl").write_text("\n".join(lines) + "\n")


def start(rate: float | None) -> dict[str, Any]:
    return {"kind": "start", "hourly_rate": rate}


END = {"kind": "finish"}


def test_all_attempts_count_and_the_time_between_them_does_not(tmp_path: Path) -> None:
    write_run(tmp_path, (0, 1, start(3.0)), (10, 1, {"kind": "step"}), (30, 2, start(3.0)), (50, 2, END))
    spent = read_spending(tmp_path)
    assert spent == Spending(30 * 60, pytest.approx(1.5))
    assert spent.in_words() == "$1.50 = $3.00 an hour x 0.50 hours"


def test_each_attempt_has_its_own_rate(tmp_path: Path) -> None:
    write_run(
        tmp_path,
        (0, 1, start(2.0)),
        (30, 1, END),
        (30, 2, start(3.0)),
        (50, 2, END),
        (50, 3, start(None)),
        (59, 3, END),
    )
    spent = read_spending(tmp_path)
    assert spent.dollars == pytest.approx(1.0 + 1.0 + 3.0 * 9 / 60)  # one without a rate has the newest
    assert spent.in_words().startswith("$2.45 = $2.49 an hour x 0.98 hours")


def test_a_rate_of_the_configuration_serves_where_the_events_have_none(tmp_path: Path) -> None:
    write_run(tmp_path, (0, 1, {"kind": "start"}), (30, 1, END))
    assert read_spending(tmp_path) == Spending(1800, None)
    assert read_spending(tmp_path).in_words() == ""
    (tmp_path / "run.json").write_text('{"config": {"hourly_rate": 4.0}}')
    assert read_spending(tmp_path).dollars == pytest.approx(2.0)


def test_the_last_sign_of_life_ends_an_attempt_and_the_present_one_that_goes_on(tmp_path: Path) -> None:
    write_run(tmp_path, (0, 1, start(3.0)), (10, 1, {"kind": "phase"}))
    (tmp_path / "status.json").write_text(json.dumps({"attempt": 1, "updated_at": at(20)}))
    assert read_spending(tmp_path).busy_s == 20 * 60
    now_s = seconds_of(at(40))
    assert read_spending(tmp_path, until_s=now_s).busy_s == 40 * 60
    (tmp_path / "status.json").write_text(json.dumps({"attempt": 7, "updated_at": at(20)}))
    assert read_spending(tmp_path).busy_s == 10 * 60


def test_an_empty_folder_has_cost_nothing(tmp_path: Path) -> None:
    assert read_spending(tmp_path, until_s=1e9) == Spending(0, None)
    assert money(2.0, 1.5) == "$3.00 = $2.00 an hour x 1.50 hours"
