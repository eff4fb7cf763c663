"""The benchmark: contenders that agree, measurements that are kept, and figures that follow from them."""

from __future__ import annotations

import importlib.util
import json
import subprocess
import sys
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pytest

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

from benchmarks import bench, jobs, results, worker  # noqa: E402
from benchmarks.roofline import step_flops  # noqa: E402

from weatherman.models.shape import ModelShape  # noqa: E402
from weatherman.steps.prefix_tree import build_tree, share_factor  # noqa: E402

SHAPE = ModelShape(
    num_layers=2, hidden=8, intermediate=16, num_heads=2, num_kv_heads=1, head_dim=4, vocabulary=100, tied=True
)
LAYER_PARAMETERS = 8 * 8 + 8 * 4 + 8 * 4 + 8 * 8 + 3 * 8 * 16


def tiny_job(tiny: Path, contender: str, workload: str = "step:1", micro_batch: int = 3) -> jobs.Job:
    return jobs.Job(contender, workload, micro_batch, config=str(tiny))


def tiny_bench(tiny: Path, folder: Path, **more: Any) -> bench.Bench:
    config = jobs.benchmark_config(tiny)
    kept = results.ResultFile.open(folder / "result.json", SHAPE, {"clock": "wall"})
    return bench.Bench(kept, tiny, config, folder / "state", **more)


@pytest.fixture
def in_this_process(monkeypatch: pytest.MonkeyPatch) -> list[jobs.Job]:
    """Measure without a new process, which takes seconds; gives the jobs that were run."""
    done: list[jobs.Job] = []

    def run(job: jobs.Job) -> dict[str, Any]:
        done.append(job)
        return worker.measure(job)

    monkeypatch.setattr(bench, "run_worker", run)
    return done


def measured(contender: str, workload: str, **more: Any) -> dict[str, Any]:
    figures = {
        "wall_s": 2.0, "cpu_s": 3.0, "loss": 1.5, "effective_tokens": 300, "computed_tokens": 100,
        "supervised_tokens": 10, "peak_bytes": 2**30, "load": 0.5,
    }  # fmt: skip
    name = {"contender": contender, "workload": workload, "repeat": 1, "micro_batch": 1, "basis": "b"}
    return {**name, **figures, **more}


def test_all_contenders_of_a_step_train_on_the_same_tokens_with_the_same_loss(tiny: Path) -> None:
    found = {
        name: worker.measure(tiny_job(tiny, name)) for name in ("ours-on", "ours-off", "peft-padded")
    }  # fmt: skip
    reference = found["peft-padded"]
    for figures in found.values():
        assert figures["loss"] == pytest.approx(reference["loss"], rel=1e-6)
        assert figures["effective_tokens"] == reference["effective_tokens"]
        assert figures["supervised_tokens"] == reference["supervised_tokens"]
    assert found["ours-off"]["computed_tokens"] == reference["computed_tokens"] > reference["effective_tokens"]
    assert found["ours-on"]["computed_tokens"] < reference["effective_tokens"]


def test_the_warm_up_leaves_no_trace_in_the_measured_step(tiny: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    warmed = worker.measure(tiny_job(tiny, "peft-padded"))["loss"]
    monkeypatch.setattr(worker, "warm_up", lambda *_: None)
    assert worker.measure(tiny_job(tiny, "peft-padded"))["loss"] == warmed


def test_later_steps_go_on_from_earlier_ones_for_every_contender_alike(
    tiny: Path, tmp_path: Path, in_this_process: list[jobs.Job]
) -> None:
    one = tiny_bench(tiny, tmp_path)
    for number in (1, 2, 3):
        for name in ("ours-on", "peft-padded"):
            assert one.run(name, f"step:{number}", 1)
    losses = {
        (m["contender"], m["workload"]): m["loss"]
        for m in json.loads((tmp_path / "result.json").read_text())["measurements"]
    }
    for number in (1, 2, 3):
        assert losses["ours-on", f"step:{number}"] == pytest.approx(losses["peft-padded", f"step:{number}"], rel=1e-4)
    alone = worker.measure(tiny_job(tiny, "ours-on", "step:3"))["loss"]
    assert abs(alone - losses["ours-on", "step:3"]) > 1e-4  # step 3 from fresh weights is another one


@pytest.mark.slow
@pytest.mark.skipif(importlib.util.find_spec("trl") is None, reason="benchmarks/requirements.txt is not installed")
@pytest.mark.parametrize("contender", ["trl", "trl-packed"])
def test_trl_has_our_loss_too(tiny: Path, contender: str) -> None:
    reference = worker.measure(tiny_job(tiny, "ours-off"))
    figures = bench.run_worker(tiny_job(tiny, contender))
    assert figures["loss"] == pytest.approx(reference["loss"], rel=1e-5)
    assert figures["effective_tokens"] == reference["effective_tokens"]
    expected = reference["computed_tokens"] if contender == "trl" else reference["effective_tokens"]
    assert figures["computed_tokens"] == expected


def test_a_measurement_is_made_once_and_again_when_what_it_depends_on_changed(
    tiny: Path, tmp_path: Path, in_this_process: list[jobs.Job], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert tiny_bench(tiny, tmp_path).run("ours-on", "batch:2", 1)
    assert not tiny_bench(tiny, tmp_path).run("ours-on", "batch:2", 1)
    assert tiny_bench(tiny, tmp_path, min_cores=1e6).run("ours-on", "batch:2", 1)
    monkeypatch.setattr(bench, "basis", lambda *_: "another engine")
    assert tiny_bench(tiny, tmp_path).run("ours-on", "batch:2", 1)
    assert len(json.loads((tmp_path / "result.json").read_text())["measurements"]) == 1


def test_ours_depends_on_the_engine_and_peers_do_not() -> None:
    def basis(name: str, data: str = "data", clock: str = "wall") -> str:
        return results.basis(name, data, clock)

    assert basis("trl") == basis("peft-padded")
    assert basis("ours-on") == basis("ours-off")
    assert len({basis("trl"), basis("trl", "other"), basis("trl", clock="cpu"), basis("ours-on")}) == 4


def test_padded_contenders_use_the_fastest_micro_batch_of_the_search(
    tiny: Path, tmp_path: Path, in_this_process: list[jobs.Job]
) -> None:
    one = tiny_bench(tiny, tmp_path)
    for size, wall_s in ((1, 9.0), (2, 7.0), (4, 8.0)):
        one._results.add(measured("trl", f"search:{size}", micro_batch=size, wall_s=wall_s))
    assert one._job("peft-padded", "step:1").micro_batch == 2
    assert one._job("trl-packed", "step:1").micro_batch == 1
    assert one._job("trl", "search:8").micro_batch == 8


def test_every_round_measures_one_step_of_every_contender_in_a_rotated_order() -> None:
    order = [(name, workload) for name, workload, _ in bench.wanted(["steps"], rounds=2, quick=False)]
    names = ["trl", "trl-packed", "peft-padded", "ours-off", "ours-on"]
    assert order == [
        ("roofline", "shapes:0"), *((name, "step:1") for name in names),
        ("roofline", "shapes:0"), *((name, "step:2") for name in [*names[1:], names[0]]),
    ]  # fmt: skip


def test_nothing_shared_is_measured_five_times_in_turn_and_everything_is_there() -> None:
    everything = list(bench.wanted(bench.PARTS, rounds=5, quick=False))
    unshared = [one for one in everything if one[1] == "prefix:0"]
    assert unshared == [(name, "prefix:0", repeat) for repeat in range(1, 6) for name in ("ours-off", "ours-on")]
    assert len(everything) == len(set(everything))
    workloads = {workload for _, workload, _ in everything}
    assert {f"batch:{size}" for size in (1, 2, 4, 8, 16, 32)} <= workloads
    assert {f"prefix:{tokens}" for tokens in (0, 128, 512, 1024)} <= workloads
    assert {"rows:1000", "rows:16000", "search:1", "search:2", "search:4", "search:8"} <= workloads


@pytest.mark.parametrize("prefix_tokens", [0, 1, 50])
def test_made_up_examples_share_their_prefix_and_nothing_else(prefix_tokens: int) -> None:
    examples = jobs.made_up_examples(4, prefix_tokens, 20, seed=3, vocabulary=500)
    for one in examples:
        assert len(one.ids) == prefix_tokens + 20
        assert np.flatnonzero(one.mask).tolist() == list(range(prefix_tokens + 10, prefix_tokens + 20))
        assert (one.ids[:prefix_tokens] == examples[0].ids[:prefix_tokens]).all()
    assert len({int(one.ids[prefix_tokens]) for one in examples}) == 4
    if not prefix_tokens:  # the last token of each is no context of a target
        assert share_factor(build_tree(examples)) == 20 / 19


def test_a_workload_that_does_not_exist_is_refused(tiny: Path) -> None:
    with pytest.raises(ValueError, match="no such workload: moon:3"):
        jobs.workload_plan("moon:3", jobs.benchmark_config(tiny))


def test_batches_and_searches_take_the_first_examples_of_the_run(tiny: Path) -> None:
    config = jobs.benchmark_config(tiny)
    whole = jobs.workload_plan("step:1", config)
    assert len(whole.examples) == jobs.STEP_EXAMPLES
    assert jobs.workload_plan("batch:3", config).example_ids == whole.example_ids[:3]
    assert jobs.workload_plan("search:4", config).example_ids == whole.example_ids[:8]
    short = jobs.warm_up_plan(whole)
    assert sorted(len(one.ids) for one in whole.examples)[:2] == [len(one.ids) for one in short.examples]


def test_a_step_needs_four_flops_a_parameter_and_the_head_at_targets_only() -> None:
    assert step_flops(SHAPE, 10, 0) == 4 * 2 * LAYER_PARAMETERS * 10
    assert step_flops(SHAPE, 10, 3) - step_flops(SHAPE, 10, 0) == 4 * 100 * 8 * 3


def test_the_measured_peak_is_a_rate(tiny: Path) -> None:
    figures = worker.measure(tiny_job(tiny, "roofline", "shapes:0"))
    assert figures["flops"] == 4 * 1024 * sum(
        i * o for i, o in jobs.require_shape(jobs.benchmark_config(tiny)).modules.values()
    )
    assert figures["wall_s"] > 0
    assert figures["threads"] >= 1


def test_preparation_counts_conversations_steps_and_tokens(tiny: Path) -> None:
    figures = worker.measure(tiny_job(tiny, "preparation", "rows:20"))
    assert figures["rows"] == 20
    assert figures["steps"] == 2
    assert figures["effective_tokens"] > figures["computed_tokens"] > 0
    assert figures["render_s"] > 0
    assert figures["trees_s"] > 0


def test_the_summary_follows_from_the_measurements() -> None:
    found = results.summarise(
        [
            measured("roofline", "shapes:0", flops=1.8e6),
            measured("roofline", "shapes:0", flops=1.6e6, repeat=2),
            measured("ours-on", "step:1", wall_s=1.0),
            measured("ours-on", "step:2", wall_s=3.0, loss=1.25),
            measured("ours-on", "step:3", wall_s=2.0, loss=1.0),
            measured("trl", "step:1", wall_s=4.0, computed_tokens=400),
            measured("trl", "step:2", wall_s=6.0, computed_tokens=400),
            measured("trl", "batch:4"),
            measured("ours-on", "prefix:0", wall_s=4.0),
            measured("ours-on", "prefix:0", wall_s=2.0, repeat=2),
        ],
        SHAPE,
        "wall",
    )
    assert found["roofline"] == {"flops_per_s": 9e5, "measured": [900000, 800000]}
    trl, ours = found["contenders"]
    assert [trl["name"], ours["name"]] == ["trl", "ours-on"]
    assert ours["effective_tokens_per_s"] == {"median": 150.0, "spread": [100.0, 300.0], "count": 3}
    assert ours["computed_tokens_per_s"] == {"median": 50.0, "spread": [100 / 3, 100.0], "count": 3}
    assert ours["share_factor"] == {"median": 3.0, "spread": [3.0, 3.0], "count": 3}
    assert trl["share_factor"]["median"] == 0.75
    assert ours["peak_bytes"] == {"median": 2**30, "spread": [2**30, 2**30], "count": 3}
    assert ours["first_loss"] == {"step": 1, "median": 1.5, "spread": [1.5, 1.5], "count": 1}
    assert ours["final_loss"] == {"step": 3, "median": 1.0, "spread": [1.0, 1.0], "count": 1}
    assert ours["roofline_fraction"]["median"] == step_flops(SHAPE, 100, 10) / 2.0 / 9e5
    assert ours["cores_used"] == {"median": 1.5, "spread": [1.0, 3.0], "count": 3}
    assert found["ratios"] == {"trl": {"median": 3.0, "spread": [2.0, 4.0], "count": 2}}
    assert [(row["at"], row["contender"]) for row in found["growth"]["batch"]] == [(4, "trl")]
    assert found["growth"]["prefix"][0]["step_s"] == {"median": 3.0, "spread": [2.0, 4.0], "count": 2}


def test_by_the_cpu_clock_seconds_are_those_that_the_process_computed() -> None:
    found = results.summarise([measured("ours-on", "step:1", wall_s=60.0, cpu_s=3.0)], SHAPE, "cpu")
    assert found["contenders"][-1]["effective_tokens_per_s"]["median"] == 100.0
    assert found["contenders"][-1]["cores_used"]["median"] == 0.05


def test_without_measurements_there_is_a_summary_of_nothing() -> None:
    found = results.summarise([], SHAPE, "wall")
    assert found["contenders"] == []
    assert found["roofline"]["flops_per_s"] is None


def test_a_worker_that_fails_says_why(tiny: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(command: list[str], **_: Any) -> subprocess.CompletedProcess[str]:
        assert json.loads(command[-1])["workload"] == "step:1"
        return subprocess.CompletedProcess(command, 1, "", "ValueError: no such thing")

    monkeypatch.setattr(bench.subprocess, "run", fail)
    with pytest.raises(RuntimeError, match=r"ours-on step:1 failed \(1\):\nValueError: no such thing"):
        bench.run_worker(tiny_job(tiny, "ours-on"))


def test_an_unknown_part_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        bench.parse_arguments(["--parts", "steps,moon"])
    assert "no such part: moon" in capsys.readouterr().err


@pytest.mark.skipif(importlib.util.find_spec("matplotlib") is None, reason="benchmarks/requirements.txt")
def test_the_plot_is_the_same_picture_every_time(tmp_path: Path) -> None:
    from benchmarks.plot import draw

    kept = results.ResultFile.open(tmp_path / "result.json", SHAPE, {"clock": "wall"})
    for one in (
        measured("trl", "step:1"), measured("ours-on", "step:1"), measured("ours-on", "batch:4"),
        measured("ours-on", "batch:8"), measured("ours-off", "prefix:0"),
    ):  # fmt: skip
        kept.add(one)
    first = draw(tmp_path / "result.json").read_bytes()
    assert ElementTree.fromstring(first).tag == "{http://www.w3.org/2000/svg}svg"
    assert draw(tmp_path / "result.json").read_bytes() == first
