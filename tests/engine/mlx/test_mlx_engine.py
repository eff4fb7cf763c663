"""The MLX engine against torch's: loss, gradients, tokens, masks, curves, checkpoints; and its tree against no sharing."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

pytest.importorskip("mlx.core")
pytest.importorskip("mlx_lm")

import mlx.core as mx

from mlx_models_for_tests import (
    EXAMPLES,
    FAMILIES,
    adapter_of,
    assert_close,
    mlx_gradients,
    open_tiny,
    plans,
    save_family,
)
from weatherman.engine.mlx import decoder as mlx_decoder
from weatherman.engine.mlx import lora as mlx_lora
from weatherman.engine.mlx import step as mlx_step
from weatherman.engine.mlx.loss import log_sum_exp
from weatherman.engine.stateless import place_keys
from weatherman.engine.torch.dropout import keep_mask as torch_keep_mask
from weatherman.errors import WeathermanError
from weatherman.records import StepPlan
from weatherman.steps.passes import plan_passes
from weatherman.steps.prefix_tree import build_tree


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    return {family: save_family(tmp_path_factory.mktemp(family), family) for family in FAMILIES}


def torch_gradients(made: Any, step: int = 1) -> tuple[float, dict[str, np.ndarray]]:
    made._optimizer.zero_grad()
    loss, _ = made._tree_step(plans(step)[-1])
    named = [(name, p) for name, p in made._model.named_parameters() if p.requires_grad]
    return loss, {name.removesuffix(".default.weight"): p.grad.numpy().copy() for name, p in named}


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("dropout", [0.0, 0.2])
def test_loss_and_gradients_are_torchs(folders: dict[str, Path], family: str, dropout: float) -> None:
    found = mlx_gradients(open_tiny(folders[family], "mlx", lora_dropout=dropout), step=2)
    expected = torch_gradients(open_tiny(folders[family], "torch", lora_dropout=dropout), step=2)
    assert_close(found, expected, 1e-4)


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("recompute", [False, True])
def test_any_budget_and_no_sharing_give_the_same(folders: dict[str, Path], family: str, recompute: bool) -> None:
    settings = {"gradient_checkpointing": recompute}
    alone = mlx_gradients(open_tiny(folders[family], "mlx", sharing=False, max_tokens_per_chunk=16384, **settings))
    for budget in (64, 100, 16384):
        assert_close(
            mlx_gradients(open_tiny(folders[family], "mlx", max_tokens_per_chunk=budget, **settings)), alone, 2e-5
        )


def test_nested_trunks_are_exact_and_draw_the_same_masks(folders: dict[str, Path]) -> None:
    made = open_tiny(folders["llama"], "mlx", lora_dropout=0.2)
    tree = build_tree(plans(1)[-1].examples, min_shared_tokens=16, max_segment_tokens=16)
    passes = plan_passes(tree, 16)
    assert any(child.children for one in passes for child in one.children)
    found = []
    for cut in (passes, plan_passes(tree, None)):
        run = mlx_step.TreeRun(made._decoder, tree, 42, 1, backward=True)
        run.run_all(cut)
        found.append((float(run.loss), {n: np.array(value) for n, value in made._named_gradients(run).items()}))
    assert_close(found[0], found[1], 2e-5)


def test_a_fork_and_a_shared_target_weigh_what_they_should(folders: dict[str, Path]) -> None:
    made, other = (open_tiny(folders["llama"], engine) for engine in ("mlx", "torch"))
    shared = EXAMPLES[0]
    forked = [type(shared)(shared.ids.copy(), shared.mask.copy()) for _ in range(3)]
    forked[1].ids[-1] = (forked[1].ids[-1] + 1) % 64  # the same context, two targets, one of them twice
    plan = StepPlan(1, 0, (0, 1, 2), tuple(forked))
    a, b = made.step(plan, 1e-3), other.step(plan, 1e-3)
    assert a.loss == pytest.approx(b.loss, rel=1e-5)
    assert a.grad_norm == pytest.approx(b.grad_norm, rel=1e-4)


def test_thirty_steps_have_torchs_curve_and_adapter_from_the_same_seed(folders: dict[str, Path]) -> None:
    settings = {"lora_dropout": 0.1, "weight_decay": 0.01, "max_grad_norm": 0.5}
    made, other = (open_tiny(folders["mistral"], engine, **settings) for engine in ("mlx", "torch"))
    losses = []
    for plan in plans(30):
        a, b = made.step(plan, 5e-3), other.step(plan, 5e-3)
        assert a.loss == pytest.approx(b.loss, abs=1e-4)
        assert a.num_computed_tokens == b.num_computed_tokens
        losses.append(a.loss)
    assert losses[-1] < 0.7 * losses[0]
    expected = adapter_of(other)
    for name, value in adapter_of(made).items():
        np.testing.assert_allclose(value, expected[name], atol=2e-3)


@pytest.mark.parametrize("family", FAMILIES)
def test_the_fresh_adapter_is_the_one_that_torch_draws(folders: dict[str, Path], family: str) -> None:
    found, expected = (
        {n: v for n, v in adapter_of(open_tiny(folders[family], engine, seed=2**32 - 5)).items() if n.endswith("A")}
        for engine in ("mlx", "torch")
    )
    assert found.keys() == expected.keys()
    for name, value in found.items():
        assert np.array_equal(value, expected[name]), name


@pytest.mark.parametrize("adapter", [True, False])
def test_evaluation_and_tokens_are_torchs(folders: dict[str, Path], adapter: bool) -> None:
    made, other = (open_tiny(folders["qwen3"], engine, lora_dropout=0.2) for engine in ("mlx", "torch"))
    found, expected = (one.evaluate(EXAMPLES, adapter=adapter) for one in (made, other))
    assert found.loss == pytest.approx(expected.loss, rel=1e-5)
    assert found.num_supervised_tokens == expected.num_supervised_tokens
    prompts = [[7], list(range(3, 30)), [*range(3, 25), 50, 51], [*range(3, 23)]]
    answers = made.generate(prompts, 12, adapter=adapter)
    assert answers == other.generate(prompts, 12, adapter=adapter)
    shared = made.generate(prompts[1:], 12, adapter=adapter)  # a prefix of 19 tokens is computed once
    assert shared == answers[1:]
    assert any(answers)


def test_dropout_masks_are_torchs() -> None:
    tokens, features = place_keys(5, np.arange(300)), place_keys(9, np.arange(70))
    for rate in (0.05, 0.2, 0.5):
        expected = torch_keep_mask(torch.from_numpy(tokens), torch.from_numpy(features), rate).numpy()
        found = mlx_lora.keep_mask(mx.array(tokens.view(np.uint32)), mx.array(features.view(np.uint32)), rate)
        assert np.array_equal(np.array(found), expected)


def test_the_sum_over_a_large_vocabulary_keeps_its_digits() -> None:
    scores = np.random.default_rng(0).standard_normal((3, 49_153)).astype(np.float32)
    expected = np.log(np.exp(scores.astype(np.float64)).sum(axis=1))
    np.testing.assert_allclose(np.array(log_sum_exp(mx.array(scores))), expected, rtol=3e-7)


def test_saved_and_loaded_it_goes_on_bit_for_bit(folders: dict[str, Path], tmp_path: Path) -> None:
    whole, first = (open_tiny(folders["llama"], "mlx", lora_dropout=0.1) for _ in range(2))
    for plan in plans(4):
        whole.step(plan, 5e-3)
    for plan in plans(2):
        first.step(plan, 5e-3)
    first.save_adapter(tmp_path)
    first.save_optimizer(tmp_path)
    resumed = open_tiny(folders["llama"], "mlx", lora_dropout=0.1)
    resumed.load(tmp_path)
    for plan in plans(4, first=3):
        resumed.step(plan, 5e-3)
    expected = adapter_of(whole)
    assert all(np.array_equal(value, expected[name]) for name, value in adapter_of(resumed).items())


@pytest.mark.parametrize(("begins", "ends"), [("torch", "mlx"), ("mlx", "torch")])
def test_a_checkpoint_goes_on_in_the_other_engine(
    folders: dict[str, Path], tmp_path: Path, begins: str, ends: str
) -> None:
    one, other, whole = (open_tiny(folders["llama"], engine) for engine in (begins, ends, begins))
    for plan in plans(3):
        one.step(plan, 5e-3)
        whole.step(plan, 5e-3)
    one.save_adapter(tmp_path)
    one.save_optimizer(tmp_path)
    other.load(tmp_path)
    for plan in plans(6, first=4):
        assert other.step(plan, 5e-3).loss == pytest.approx(whole.step(plan, 5e-3).loss, rel=1e-4)


def test_the_adapter_loads_in_peft(folders: dict[str, Path], tmp_path: Path) -> None:
    from peft import PeftModel
    from transformers import AutoModelForCausalLM

    made = open_tiny(folders["mistral"], "mlx")
    for plan in plans(2):
        made.step(plan, 5e-3)
    made.save_adapter(tmp_path)
    model = PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(folders["mistral"]), str(tmp_path)).eval()
    row = EXAMPLES[0]
    with torch.no_grad():
        scores = model(torch.from_numpy(row.ids.astype(np.int64))[None]).logits[0, :-1]
    places = np.flatnonzero(row.mask[1:])
    target = torch.from_numpy(row.ids[1:].astype(np.int64))[places]
    expected = float(torch.nn.functional.cross_entropy(scores[places], target))
    assert made.evaluate([row]).loss == pytest.approx(expected, rel=1e-5)


def test_an_adapter_of_another_rank_is_refused(folders: dict[str, Path], tmp_path: Path) -> None:
    made = open_tiny(folders["llama"], "mlx", lora_r=16)
    made.save_adapter(tmp_path)
    made.save_optimizer(tmp_path)
    with pytest.raises(WeathermanError, match="does not fit") as caught:
        open_tiny(folders["llama"], "mlx").load(tmp_path)
    assert caught.value.code == "checkpoint.adapter-shape"


def test_a_loss_that_is_no_number_stops_before_the_update(folders: dict[str, Path]) -> None:
    made = open_tiny(folders["llama"], "mlx")
    values = dict(made._adapter.named())
    name = next(iter(values))
    made._adapter.replace({**values, name: values[name] * mx.nan})
    with pytest.raises(WeathermanError, match="was not applied"):
        made.step(plans(1)[0], 1e-3)
    assert made._optimizer.num_steps == 0


def test_a_leak_is_found_inside_the_trace(folders: dict[str, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    made = open_tiny(folders["llama"], "mlx")
    made.prove_causality()
    visible = mlx_step.visible
    monkeypatch.setattr(mlx_step, "visible", lambda layout: visible(layout) | True)
    with pytest.raises(WeathermanError, match="leaks") as caught:
        made.prove_causality()
    assert caught.value.code == "engine.leak"


def test_past_keys_reach_the_recomputed_layer(folders: dict[str, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[int] = []
    fetch = mlx_decoder.PassCache.update_and_fetch

    def counted(self: Any, keys: mx.array, values: mx.array) -> Any:
        seen.append(len(self.past))
        return fetch(self, keys, values)

    monkeypatch.setattr(mlx_decoder.PassCache, "update_and_fetch", counted)
    mlx_gradients(open_tiny(folders["llama"], "mlx", gradient_checkpointing=True))
    assert max(seen) >= 1


def test_info_says_what_runs(folders: dict[str, Path]) -> None:
    info = open_tiny(folders["llama"], "mlx").info
    assert info.backend.startswith("mlx ")
    assert (info.device, info.dtype, info.attention) == ("cpu", "float32", "sdpa")
    assert json.dumps(info.num_parameters) == str(open_tiny(folders["llama"], "torch").info.num_parameters)
