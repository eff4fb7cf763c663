"""The GPU comparison, as far as a machine without one can try it."""

from __future__ import annotations

import functools
import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

from benchmarks import gpu, gpu_cell, gpu_data  # noqa: E402

from weatherman.models.shape import KNOWN  # noqa: E402

STEPS = [
    {"wall_s": 2.0, "loss": 1.0, "effective_tokens": 400, "computed_tokens": 200},
    {"wall_s": 4.0, "loss": 1.0, "effective_tokens": 400, "computed_tokens": 100},
    {"wall_s": 1.0, "loss": 1.0, "effective_tokens": 400, "computed_tokens": 200},
]


@pytest.fixture
def few_examples(monkeypatch: pytest.MonkeyPatch) -> None:
    """Steps of made-up examples: reading the shipped data again for each cell takes seconds."""
    from benchmarks.jobs import as_plan, made_up_examples

    def plans(count: int, *, tiny: bool) -> tuple[list[Any], str]:
        return [as_plan(made_up_examples(4, 60, 40, seed=seed, vocabulary=1000)) for seed in range(count)], "made up"

    monkeypatch.setattr(gpu_cell, "gpu_plans", plans)


@pytest.mark.usefixtures("few_examples")
@pytest.mark.parametrize(
    ("batches", "recompute", "computed"),
    [("padded", False, 400), ("packed", True, 396), ("tree", True, 60 + 4 * 39), ("tree", False, 60 + 4 * 39)],
)
def test_a_tiny_cell_runs_and_counts_its_tokens(batches: Any, recompute: bool, computed: int) -> None:
    figures = gpu_cell.run_cell(gpu_cell.Cell("bf16", batches, "sdpa", recompute=recompute, tiny=True))
    assert [step["computed_tokens"] for step in figures["steps"]] == [computed] * gpu_cell.TIMED_STEPS
    assert {step["effective_tokens"] for step in figures["steps"]} == {400}
    assert all(9 < step["loss"] < 12 for step in figures["steps"])  # a vocabulary of 32,768, guessed at random


@pytest.mark.usefixtures("few_examples")
@pytest.mark.parametrize("batches", ["tree", "padded"])
def test_parity_is_within_bfloat16s_rounding(batches: Any) -> None:
    figures = gpu_cell.run_cell(gpu_cell.Cell("bf16", batches, "sdpa", parity=True, tiny=True))
    assert 0 < figures["relative_loss_difference"] < 1e-2
    assert 0 < figures["relative_gradient_difference"] < 0.1


def test_the_tiny_data_is_the_shipped_data_cut_short() -> None:
    (plan,), tokens_are = gpu_data.gpu_plans(1, tiny=True)
    assert tokens_are in ("counted", "estimated")
    assert {len(one.ids) for one in plan.examples} == {gpu_data.TINY_TOKENS}
    assert all(one.num_supervised_tokens == 20 for one in plan.examples)
    first = plan.examples[0].ids
    alike = [one for one in plan.examples if (one.ids[:8] == first[:8]).all()]
    assert 2 <= len(alike) <= len(plan.examples)  # later views of a conversation begin otherwise
    assert max(int(np.max(one.ids)) for one in plan.examples) < gpu_data.VOCABULARY


def test_the_shape_is_that_of_the_real_model() -> None:
    shape, known = gpu_cell.MISTRAL_7B, KNOWN["mistralai/Mistral-7B-Instruct-v0.3"]
    assert (shape["num_hidden_layers"], shape["hidden_size"]) == (known.num_layers, known.hidden)
    assert (shape["intermediate_size"], shape["vocab_size"]) == (known.intermediate, known.vocabulary)
    assert (shape["num_attention_heads"], shape["num_key_value_heads"]) == (known.num_heads, known.num_kv_heads)
    assert shape["head_dim"] == known.head_dim


def test_the_table_has_every_combination_that_was_asked_for() -> None:
    names = {gpu.cell_name(cell) for cell in gpu.cells(tiny=False)}
    assert len(names) == len(gpu.cells(tiny=False))
    for wanted in (
        "bf16 tree flex recomputed", "bf16 tree flex", "bf16 tree flash recomputed", "bf16 tree sdpa recomputed",
        "bf16 padded sdpa", "bf16 packed flex", "qlora tree flex recomputed", "bf16 tree flex parity",
    ):  # fmt: skip
        assert wanted in names


def test_figures_of_a_cell_are_medians_and_utilisation_counts_four_flops_a_parameter() -> None:
    cell = {"weights": "bf16", "batches": "tree", "kernel": "flex"}
    row = gpu.figures(cell, {"status": "measured", "steps": STEPS, "peak_bytes": 7}, "NVIDIA H100 80GB HBM3")
    assert row["effective_tokens_per_s"] == 200.0
    assert row["computed_tokens_per_s"] == 100.0
    assert row["share_factor"] == 2.0
    assert row["peak_bytes"] == 7
    assert row["utilisation"] == 4 * (7_248_023_552 - 32768 * 4096) * 100.0 / 989e12


def test_goals_follow_from_the_fastest_cells() -> None:
    rows = [
        {"cell": "bf16 tree flex", "effective_tokens_per_s": 300.0, "utilisation": 0.4},
        {"cell": "bf16 tree sdpa", "effective_tokens_per_s": 200.0, "utilisation": 0.5},
        {"cell": "bf16 packed flex", "effective_tokens_per_s": 150.0, "utilisation": 0.4},
        {"cell": "bf16 packed flash", "effective_tokens_per_s": "not measured", "utilisation": "not measured"},
        {"cell": "bf16 tree flex parity"},
    ]
    assert gpu.goals(rows, 6000) == {"utilisation": 0.4, "times_packed": 2.0, "minutes": 1.0}
    assert gpu.goals(rows[:1], None) == {"utilisation": 0.4, "times_packed": "not measured", "minutes": "not measured"}
    assert set(gpu.goals([], 6000).values()) == {"not measured"}


def test_what_was_not_measured_says_so_and_why() -> None:
    cell = {"weights": "qlora", "batches": "tree", "kernel": "flex", "recompute": True}
    row = gpu.figures(cell, {"status": "skipped", "reason": "No module named 'bitsandbytes'"}, None)
    assert row["effective_tokens_per_s"] == row["utilisation"] == row["peak_bytes"] == "not measured"
    assert row["reason"] == "No module named 'bitsandbytes'"
    parity = gpu.figures({**cell, "parity": True}, {}, None)
    assert parity["relative_loss_difference"] == "not measured"


def test_a_run_keeps_each_cell_and_goes_on_with_the_missing_ones(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []

    def run(cell: dict[str, Any], timeout_s: float) -> dict[str, Any]:
        asked.append(gpu.cell_name(cell))
        if cell["kernel"] == "flash":
            return {"status": "skipped", "reason": "No module named 'flash_attn'"}
        return {"status": "measured", "steps": STEPS, "peak_bytes": None}

    monkeypatch.setattr(gpu, "run_cell", run)
    monkeypatch.setattr(gpu, "probe", functools.cache(gpu.probe))  # each call loads PyTorch in a process of its own
    out = tmp_path / "gpu.json"
    assert gpu.main(["--tiny", "--cells", "2", "--out", str(out)]) == 0
    assert gpu.main(["--tiny", "--out", str(out)]) == 0
    assert len(asked) == len(set(asked)) == len(gpu.cells(tiny=True))
    asked.clear()
    assert gpu.main(["--tiny", "--out", str(out)]) == 0
    assert asked
    assert all("flash" in name for name in asked)  # what could not run is tried again
    content = json.loads(out.read_text())
    assert content["tiny"] is True
    assert content["contenders"][0]["effective_tokens_per_s"] == 200.0
    assert content["contenders"][0]["peak_bytes"] == "not measured"


def test_a_cell_that_fails_gives_its_last_words() -> None:
    result = gpu.run_cell({"weights": "bf16", "batches": "tree", "kernel": "flash", "tiny": True}, 300)
    assert result["status"] == "skipped"
    assert "flash_attn" in result["reason"]


def test_without_a_gpu_it_says_so_and_fails(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(gpu, "probe", lambda: {"device": None})
    assert gpu.main(["--out", str(tmp_path / "gpu.json")]) == 1
    assert "No CUDA GPU was found, so every column stays 'not measured'" in "".join(capsys.readouterr())
    assert not (tmp_path / "gpu.json").exists()
