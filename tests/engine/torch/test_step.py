"""The step over the prefix tree gives the padded batch's loss and gradients, in every way that it can be cut."""

from __future__ import annotations

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from torch_models_for_tests import TinyModel, assert_same, conversations, forests, randomise_lora_b, rendered
from weatherman.engine.torch import sdpa as torch_sdpa
from weatherman.engine.torch.attention import TREE_ATTENTION
from weatherman.engine.torch.fast_lora import MergedLora
from weatherman.engine.torch.step import tree_loss
from weatherman.records import Rendered
from weatherman.steps.passes import plan_passes
from weatherman.steps.prefix_tree import build_tree

FP64, FP32 = 1e-10, 1e-5
KINDS = [("llama", 2), ("llama", 4), ("mistral", 1), ("mistral", 4)]
CUTS = [(None, None), (7, 0), (16, 20), (40, 0), (64, None), (1000, None)]
TINY_CUTS = [(1, None), (1, 0), (3, None)]


@pytest.fixture(autouse=True)
def small_query_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Segments of the tests are short: without this each would be one block."""
    monkeypatch.setattr(torch_sdpa, "QUERY_BLOCK_TOKENS", 16)


@pytest.fixture(scope="module")
def models() -> dict[tuple[str, int, bool], TinyModel]:
    return {
        (family, heads, checkpointing): TinyModel(family, heads, checkpointing=checkpointing)
        for family, heads in KINDS
        for checkpointing in (False, True)
    }


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(forests(), st.sampled_from(CUTS + TINY_CUTS), st.sampled_from(KINDS), st.booleans(), st.sampled_from([1, 3, 8]))
def test_random_trees_in_float64(
    models: dict[tuple[str, int, bool], TinyModel],
    examples: list[Rendered],
    cut: tuple[int | None, int | None],
    kind: tuple[str, int],
    checkpointing: bool,
    min_shared: int,
) -> None:
    reference, model = models[(*kind, False)], models[(*kind, checkpointing)]
    expected = reference.padded(examples)
    assert_same(reference.padded(examples, micro_batch=1), expected, FP64)
    assert_same(model.tree(examples, *cut, min_shared=min_shared), expected, FP64)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("checkpointing", [False, True])
def test_float32_conversations(kind: tuple[str, int], checkpointing: bool) -> None:
    model = TinyModel(*kind, dtype=torch.float32, checkpointing=checkpointing)
    examples = conversations(num_shared=50, num_own=20, num_rows=5)
    expected = model.padded(examples)
    assert_same(model.padded(examples, micro_batch=1), expected, FP32)
    for cut in CUTS:
        assert_same(model.tree(examples, *cut, min_shared=4), expected, FP32)


def test_the_cuts_do_what_they_say() -> None:
    examples = conversations(num_shared=50, num_own=20, num_rows=5)
    tree = build_tree(examples, max_segment_tokens=40)
    (outer,) = plan_passes(tree, 40, 45)
    (inner,) = outer.children
    assert (outer.segments, outer.recompute, inner.segments, inner.recompute) == ((0,), False, (1,), True)
    assert [one.children for one in inner.children] == [()] * 5


def test_a_segment_over_the_budget_is_chained() -> None:
    model = TinyModel()
    examples = [rendered([*range(60)], [0] * 30 + [1] * 30)]
    tree = build_tree(examples, max_segment_tokens=16)
    assert [len(segment.ids) for segment in tree.segments] == [16, 16, 16, 11]
    assert_same(model.tree(examples, 16), model.padded(examples), FP64)


def test_nothing_supervised_gives_no_loss_and_no_gradient() -> None:
    model = TinyModel()
    examples = [rendered([1, 2, 3], [0, 0, 0])]
    with pytest.raises(AssertionError, match="lora"):
        model.tree(examples)
    assert all(parameter.grad is None for parameter in model.parameters.values())


@pytest.mark.parametrize("checkpointing", [False, True])
def test_dropout_draws_the_same_mask_however_the_step_is_cut(checkpointing: bool) -> None:
    model = TinyModel(dropout=0.2, checkpointing=checkpointing)
    examples = conversations(num_shared=50, num_own=20, num_rows=4)
    expected = model.tree(examples, None, min_shared=4)
    for cut in CUTS:
        torch.rand(1)  # global generators must not matter
        assert_same(model.tree(examples, *cut, min_shared=4), expected, FP64)
    other, _ = model.tree(examples, None, min_shared=4, step=2)
    assert abs(other - expected[0]) > 1e-6


def test_dropout_reaches_the_loss_and_stops_in_eval_mode() -> None:
    examples = conversations(num_shared=30, num_own=20, num_rows=3)
    model = TinyModel(dropout=0.2)
    without = TinyModel().tree(examples)
    assert abs(model.tree(examples)[0] - without[0]) > 1e-6
    model.model.eval()
    assert_same(model.tree(examples), without, FP64)


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, FP64), (torch.float32, FP32)])
@pytest.mark.parametrize("checkpointing", [False, True])
def test_merged_weights_give_pefts_gradients(dtype: torch.dtype, tolerance: float, checkpointing: bool) -> None:
    model = TinyModel(dtype=dtype, checkpointing=checkpointing)
    examples = conversations(num_shared=50, num_own=20, num_rows=4)
    expected = model.padded(examples)
    merged = MergedLora(model.model)
    for cut in [(None, None), (16, 20), (40, 0)]:
        with merged.in_use():
            assert_same(model.tree(examples, *cut), expected, tolerance)
    with merged.in_use():
        assert_same(model.padded(examples, micro_batch=2), expected, tolerance)


def test_merged_weights_are_used_only_in_their_block_and_follow_the_adapter() -> None:
    model = TinyModel()
    examples = conversations(num_shared=20, num_own=12, num_rows=2)
    merged = MergedLora(model.model)
    with merged.in_use():
        before = model.tree(examples)
        with model.model.disable_adapter(), torch.no_grad(), model.attention(TREE_ATTENTION):
            tree = build_tree(examples)
            without = tree_loss(model.network, tree, plan_passes(tree, None), backward=False)
    assert abs(without - before[0]) > 1e-3
    randomise_lora_b(model.model, seed=9)
    expected = model.padded(examples)
    assert abs(expected[0] - before[0]) > 1e-3
    with merged.in_use():
        assert_same(model.tree(examples), expected, FP64)


def test_merged_weights_need_no_dropout_no_bias_and_wide_floats() -> None:
    assert MergedLora.suits(TinyModel(dtype=torch.float32).model, dropout=0.0)
    assert not MergedLora.suits(TinyModel(dtype=torch.float32).model, dropout=0.1)
    assert not MergedLora.suits(TinyModel(dtype=torch.bfloat16).model, dropout=0.0)
    assert not MergedLora.suits(TinyModel(attention_bias=True).model, dropout=0.0)
