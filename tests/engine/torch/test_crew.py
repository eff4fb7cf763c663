"""Branches side by side: the same numbers as one after another, the same bits each time, and gradients that add up."""

from __future__ import annotations

import threading
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fault_runs import FaultRuns
from torch_models_for_tests import TinyModel, assert_same, conversations, forests, randomise_lora_b, tiny_base
from weatherman.config.schema import TrainingConfig
from weatherman.engine.torch.crew import Crew, GradientSink, share_out
from weatherman.engine.torch.engine import TorchEngine
from weatherman.records import Rendered, StepPlan

FP64 = 1e-10
LEAVES_A_MARK = """
import pathlib
from weatherman.engine.torch.crew import Crew
real_run = Crew.run
def run(self, tasks, **options):
    pathlib.Path({mark!r}).touch()
    return real_run(self, tasks, **options)
Crew.run = run
"""
CUTS = [(None, None), (7, 0), (16, 20), (40, 0), (64, None)]


@pytest.fixture(scope="module")
def models() -> dict[str, TinyModel]:
    return {family: TinyModel(family, 2) for family in ("llama", "mistral")}


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(forests(), st.sampled_from(CUTS), st.sampled_from(["llama", "mistral"]), st.sampled_from([2, 3]))
def test_random_trees_are_those_of_the_padded_batch(
    models: dict[str, TinyModel],
    examples: list[Rendered],
    cut: tuple[int | None, int | None],
    family: str,
    num_workers: int,
) -> None:
    model = models[family]
    crew = Crew(num_workers, torch.get_num_threads())
    assert_same(model.tree(examples, *cut, crew=crew), model.padded(examples), FP64)


def test_every_time_the_same_bits() -> None:
    model = TinyModel(dtype=torch.float32)
    examples = conversations(num_shared=50, num_own=20, num_rows=9)
    found = [model.tree(examples, 40, 0, min_shared=4, crew=Crew(2, 2)) for _ in range(6)]
    for loss, gradients in found[1:]:
        assert loss == found[0][0]
        assert all(torch.equal(gradient, found[0][1][name]) for name, gradient in gradients.items())


def test_workers_work_at_the_same_time_with_their_share_of_the_threads() -> None:
    meet, before = threading.Barrier(2, timeout=300), torch.get_num_threads()

    def task() -> tuple[int, bool]:
        meet.wait()  # only if both are there
        return torch.get_num_threads(), torch.is_grad_enabled()

    try:
        torch.set_num_threads(4)
        assert Crew(2, 4).run([task, task], gradients=False) == [(2, False)] * 2
        assert Crew(2, 4).run([task, task], gradients=True) == [(2, True)] * 2
        assert torch.get_num_threads() == 4
        with pytest.raises(ZeroDivisionError):
            Crew(2, 4).run([lambda: 1 // 0], gradients=False)
        assert torch.get_num_threads() == 4
    finally:
        torch.set_num_threads(before)
    assert Crew.of(1, 4) is None
    with pytest.raises(ValueError, match="no dropout"):
        replace(TinyModel(dropout=0.1).network, crew=Crew(2, 2))
    assert Crew.of(2, 3) == Crew(2, 3)


@given(st.lists(st.integers(1, 1000), min_size=1, max_size=30), st.integers(1, 4))
def test_work_is_shared_out_whole_and_evenly(sizes: list[int], num_shares: int) -> None:
    shares = share_out(sizes, num_shares)
    assert sorted(place for share in shares for place in share) == list(range(len(sizes)))
    assert all(share == sorted(share) and share for share in shares)
    loads = [sum(sizes[place] for place in share) for share in shares]
    assert max(loads) - min(loads) <= max(sizes) or len(sizes) < num_shares


def test_a_sink_adds_up_apart_and_then_into_grad() -> None:
    weight, unused, leaf = (torch.ones(2, requires_grad=True) for _ in range(3))
    sink = GradientSink([weight, unused])
    for factor in (2.0, 3.0):
        sink.backward([(factor * weight * leaf).sum()], [None], [leaf])
    assert weight.grad is None
    assert leaf.grad is None
    sink.flush_to_grad()
    sink.flush_to_grad()  # nothing is left in it
    assert weight.grad is not None
    assert weight.grad.tolist() == [5.0, 5.0]
    assert unused.grad is None


def test_the_engine_has_a_crew_only_where_it_helps(tmp_path: Path) -> None:
    tiny_base().save_pretrained(tmp_path)
    base = {"model_name_or_path": str(tmp_path), "device": "cpu", "dtype": "float32", "num_threads": 2}

    def crew(*, sharing: bool = True, **settings: object) -> Crew | None:
        config = TrainingConfig.model_validate({**base, "lora_dropout": 0.0, **settings})
        return TorchEngine(config, sharing=sharing, stop_token_ids=[])._network.crew

    before = torch.get_num_threads()
    try:
        assert crew() == Crew(2, 2)
        assert crew(sharing=False) is None
        assert crew(num_threads=1) is None
        assert crew(lora_dropout=0.1) is None
        assert crew(gradient_checkpointing=True) is None
        assert crew(max_tokens_per_chunk=200) is None
    finally:
        torch.set_num_threads(before)


def test_steps_of_an_engine_with_a_crew_are_those_of_one_without(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tiny_base().save_pretrained(tmp_path)
    config = TrainingConfig.model_validate(
        {
            "model_name_or_path": str(tmp_path), "device": "cpu", "dtype": "float32", "num_threads": 2,
            "lora_dropout": 0.0, "max_tokens_per_chunk": 256,
        }
    )  # fmt: skip
    examples = tuple(conversations(num_shared=60, num_own=70, num_rows=8))
    before = torch.get_num_threads()
    try:
        together = TorchEngine(config, sharing=True, stop_token_ids=[])
        monkeypatch.setattr(Crew, "of", staticmethod(lambda num_workers, num_threads: None))
        alone = TorchEngine(config, sharing=True, stop_token_ids=[])
        for engine in (together, alone):
            torch.manual_seed(5)
            randomise_lora_b(engine._model)
        for number in range(1, 6):
            plan = StepPlan(number, 0, tuple(range(8)), examples)
            found, expected = (engine.step(plan, 1e-3) for engine in (together, alone))
            assert found.loss == pytest.approx(expected.loss, rel=1e-5)
            assert found.grad_norm == pytest.approx(expected.grad_norm, rel=1e-4)
        sums = [engine.evaluate(examples).loss for engine in (together, alone)]
        assert sums[0] == pytest.approx(sums[1], rel=1e-5)
    finally:
        torch.set_num_threads(before)


def test_a_run_with_a_crew_that_was_killed_goes_on_bit_for_bit(tmp_path: Path) -> None:
    runs = FaultRuns(tmp_path, ("lora_dropout=0", "num_threads=2", "max_tokens_per_chunk=256"))
    try:
        run = runs.died("step 8", tmp_path / "run")
        met = tmp_path / "met"
        done = runs.train(run, prelude=LEAVES_A_MARK.format(mark=str(met)))
        assert "RESUME: Found checkpoint at step 6." in done.output
        assert met.exists()  # branches did go side by side
        assert runs.difference(run) == ""
    finally:
        runs.close()
