"""docs/performance.md says what the result files say, and the paper estimate follows from its tokens."""

from __future__ import annotations

import dataclasses
import json
import sys
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

from benchmarks import page, paper  # noqa: E402
from benchmarks.results import summarise  # noqa: E402

from weatherman.models.shape import KNOWN  # noqa: E402

PARTS = ("machine", "contenders", "plot", "goals", "batch", "prefix", "preparation", "gpu", "paper")


@pytest.fixture
def result() -> dict[str, Any]:
    content: dict[str, Any] = json.loads(page.newest_result().read_text(encoding="utf-8"))
    return content


def test_the_page_holds_the_newest_results(result: dict[str, Any]) -> None:
    text = page.PAGE.read_text(encoding="utf-8")
    again = page.filled_in(text, result, page.newest_result().stem, page.newest_estimate(), page.newest_gpu())
    assert text == again, "run: python -m benchmarks.page"
    for part in PARTS:
        assert f"<!-- measured: {part} -->\n<!-- end -->" not in text
        assert f"<!-- measured: {part} -->" in text


def test_a_changed_figure_changes_the_page(result: dict[str, Any]) -> None:
    result["contenders"][0]["effective_tokens_per_s"]["median"] += 1000
    text = page.PAGE.read_text(encoding="utf-8")
    name = page.newest_result().stem
    assert page.filled_in(text, result, name, page.newest_estimate(), page.newest_gpu()) != text


def test_the_summary_in_the_file_follows_from_its_measurements(result: dict[str, Any]) -> None:
    shape = KNOWN[result["settings"]["model"]]
    summary = summarise(result["measurements"], shape, result["settings"]["clock"])
    assert json.loads(json.dumps(summary)) == {key: result[key] for key in summary}


def test_all_contenders_that_were_measured_end_with_the_same_loss(result: dict[str, Any]) -> None:
    measured = result["contenders"]
    assert len(measured) >= 3
    for end in ("first_loss", "final_loss"):
        losses: dict[int, list[float]] = {}
        for one in measured:
            losses.setdefault(one[end]["step"], []).append(one[end]["median"])
        for of_one_step in losses.values():
            assert max(of_one_step) == pytest.approx(min(of_one_step), rel=1e-5 if end == "first_loss" else 1e-3)


def test_the_plot_of_the_newest_result_is_there() -> None:
    assert page.newest_result().with_suffix(".svg").is_file()


def test_the_estimate_follows_from_its_tokens() -> None:
    found = page.newest_estimate()
    epoch = found["epoch"]
    assert found["share_factor"] == epoch["effective"] / epoch["tree"]
    ways = {"padded": "padded", "packed": "effective", "prefix tree": "tree"}
    assert [one["way"] for one in found["estimates"]] == list(ways)
    for one in found["estimates"]:
        tokens, supervised = 3 * int(epoch[ways[one["way"]]]), 3 * int(epoch["supervised"])
        again = dataclasses.asdict(paper.estimate(one["way"], tokens, supervised))
        assert one == json.loads(json.dumps(again))


def test_the_estimates_arithmetic_on_a_round_number() -> None:
    body = 32 * (2 * 4096 * 4096 + 2 * 4096 * 1024 + 3 * 4096 * 14336)
    found = paper.estimate("x", 1_000_000, 0)
    assert found.flops == 4 * body * 1_000_000
    assert found.minutes == pytest.approx((found.flops / 989e12 / 0.45 / 60, found.flops / 989e12 / 0.25 / 60))
    assert found.dollars == pytest.approx((2 * found.minutes[0] / 60, 3 * found.minutes[1] / 60))


def test_goals_are_judged_by_the_figures(result: dict[str, Any]) -> None:
    result["ratios"] = {"trl": {"median": 4.0, "spread": [3.0, 5.0], "count": 3}}
    assert "| Times as fast as TRL | ≥ 4 | 4.00 (3.00 to 5.00) | yes |" in page._goals(result)
    result["ratios"]["trl"]["median"] = 3.99
    assert "| Times as fast as TRL | ≥ 4 | 3.99 (3.00 to 5.00) | no |" in page._goals(result)
