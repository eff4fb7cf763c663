"""Every attention kernel sees exactly the same tokens, and the choice between them is a pure rule."""

from __future__ import annotations

import sys
import types
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from torch_models_for_tests import TinyModel, assert_same, conversations, forests
from weatherman.engine.attention_choice import choose_attention
from weatherman.engine.pass_layout import PassLayout, lay_out
from weatherman.engine.torch import sdpa as torch_sdpa
from weatherman.engine.torch.attention import TREE_ATTENTION, ScoreRule, TrunkLayer
from weatherman.engine.torch.flash import key_places
from weatherman.engine.torch.flex import FlexTree, subtree_ends
from weatherman.engine.torch.kernels import prepare_kernel
from weatherman.engine.torch.sdpa import BlockMask, SegmentSdpa
from weatherman.errors import WeathermanError
from weatherman.records import Rendered
from weatherman.steps.prefix_tree import build_tree

HEADS, GROUPS, HEAD_DIM = 4, 2, 16
CPU = torch.device("cpu")


def visible(layout: PassLayout) -> torch.Tensor:
    """Bool [N, P + N] straight from the definition: the past, the ancestors, and itself causally."""
    allowed = torch.zeros(layout.num_tokens, layout.num_past_tokens + layout.num_tokens, dtype=torch.bool)
    allowed[:, : layout.num_past_tokens] = True
    for place, (offset, length) in enumerate(zip(layout.offsets, layout.lengths, strict=True)):
        for token in range(offset, offset + length):
            allowed[token, layout.num_past_tokens + offset : layout.num_past_tokens + token + 1] = True
            for above in layout.ancestors[place]:
                start = layout.num_past_tokens + layout.offsets[above]
                allowed[token, start : start + layout.lengths[above]] = True
    return allowed


def tensors(layout: PassLayout) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, list[TrunkLayer]]:
    torch.manual_seed(layout.num_tokens)
    query = torch.randn(1, HEADS, layout.num_tokens, HEAD_DIM)
    key, value = torch.randn(2, 1, GROUPS, layout.num_tokens, HEAD_DIM)
    past = []
    if layout.num_past_tokens:
        cut = layout.num_past_tokens // 2
        pieces = [size for size in (cut, layout.num_past_tokens - cut) if size]
        for size in pieces:
            k, v = torch.randn(2, 1, GROUPS, size, HEAD_DIM)
            past.append(TrunkLayer.detached(k, v, requires_grad=False))
    return query, key, value, past


def reference(layout: PassLayout, query: Any, key: Any, value: Any, past: list[TrunkLayer]) -> torch.Tensor:
    keys = torch.cat([*(trunk.key for trunk in past), key], dim=2).repeat_interleave(HEADS // GROUPS, dim=1)
    values = torch.cat([*(trunk.value for trunk in past), value], dim=2).repeat_interleave(HEADS // GROUPS, dim=1)
    scores = query @ keys.transpose(2, 3) / HEAD_DIM**0.5
    return scores.masked_fill(~visible(layout), float("-inf")).softmax(dim=-1) @ values


def fake_varlen(q: Any, k: Any, v: Any, q_ends: Any, k_ends: Any, *_: Any, softmax_scale: Any, causal: bool) -> Any:
    """flash_attn_varlen_func by its documentation: causal, aligned at the lower right of each sequence."""
    assert causal
    outputs = []
    for place in range(len(q_ends) - 1):
        queries = q[q_ends[place] : q_ends[place + 1]].transpose(0, 1)
        rows = slice(int(k_ends[place]), int(k_ends[place + 1]))
        keys, values = (x[rows].transpose(0, 1).repeat_interleave(q.shape[1] // k.shape[1], dim=0) for x in (k, v))
        n, length = queries.shape[1], keys.shape[1]
        mask = torch.ones(n, length, dtype=torch.bool).tril(length - n)
        outputs.append(
            torch.nn.functional.scaled_dot_product_attention(
                queries, keys, values, attn_mask=mask, scale=softmax_scale
            ).transpose(0, 1)
        )
    return torch.cat(outputs)


@pytest.fixture
def flash(monkeypatch: pytest.MonkeyPatch) -> None:
    module = types.ModuleType("flash_attn")
    module.flash_attn_varlen_func = fake_varlen  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "flash_attn", module)


LAYOUTS = [
    PassLayout((5,), ((),), 0),
    PassLayout((130, 7, 90), ((), (0,), (0,)), 0),
    PassLayout((40, 7, 90, 3, 20), ((), (0,), (0, 1), (0,), ()), 150),
    PassLayout((128, 128), ((), (0,)), 128),
]


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("kernel", ["sdpa", "flex", "flash"])
def test_kernels_agree_with_the_definition(layout: PassLayout, kernel: Any, flash: None) -> None:
    prepared = prepare_kernel(kernel, layout, HEADS // GROUPS, torch.float32, CPU)
    query, key, value, past = tensors(layout)
    with torch.no_grad():
        found = prepared.attend(query, key, value, past, None)
    torch.testing.assert_close(found, reference(layout, query, key, value, past), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("kernel", ["sdpa", "flex"])
@pytest.mark.parametrize("rule", [ScoreRule(1), ScoreRule(5, 2.0), ScoreRule(33), ScoreRule(None, 2.0)])
def test_windows_by_depth_and_soft_caps_agree_with_the_definition(
    layout: PassLayout, kernel: Any, rule: ScoreRule
) -> None:
    query, key, value, past = tensors(layout)
    with torch.no_grad():
        found = prepare_kernel(kernel, layout, HEADS // GROUPS, torch.float32, CPU).attend(
            query, key, value, past, None, rule
        )
    depths = [
        layout.num_past_tokens + sum(layout.lengths[above] for above in layout.ancestors[place]) + token
        for place, length in enumerate(layout.lengths)
        for token in range(length)
    ]
    query_depth, key_depth = torch.tensor(depths), torch.tensor([*range(layout.num_past_tokens), *depths])
    keys, values = (
        torch.cat([*(getattr(trunk, name) for trunk in past), own], dim=2).repeat_interleave(HEADS // GROUPS, dim=1)
        for name, own in (("key", key), ("value", value))
    )
    scores = query @ keys.transpose(2, 3) / HEAD_DIM**0.5
    if rule.softcap is not None:
        scores = rule.softcap * torch.tanh(scores / rule.softcap)
    allowed = visible(layout)
    if rule.window is not None:
        allowed &= query_depth[:, None] - key_depth < rule.window
    expected = scores.masked_fill(~allowed, float("-inf")).softmax(dim=-1) @ values
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-5)


def padded_to(mask: BlockMask, num_keys: int) -> torch.Tensor:
    """A block's mask with the keys it does not even look at."""
    return torch.nn.functional.pad(mask.added, (mask.first_key, num_keys - mask.end_key), value=float("-inf"))


@settings(max_examples=100, deadline=None)
@given(forests(), st.integers(0, 30))
def test_masks_of_random_trees(examples: list[Rendered], num_past: int) -> None:
    tree = build_tree(examples)
    layout = lay_out(tree, range(len(tree.segments)), num_past)
    expected = visible(layout)
    until = torch.from_numpy(subtree_ends(layout, layout.num_tokens))
    query, key = torch.arange(layout.num_tokens)[:, None], torch.arange(layout.num_tokens)
    assert torch.equal((key <= query) & (query < until), expected[:, num_past:])
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(torch_sdpa, "QUERY_BLOCK_TOKENS", 8)
        masks = SegmentSdpa.prepare(layout, num_query_groups=1, dtype=torch.float32, device=CPU).masks_of(None)
    for offset, length, places, blocks in zip(layout.offsets, layout.lengths, key_places(layout), masks, strict=True):
        rows = expected[offset : offset + length]
        assert torch.equal(rows[:, places], torch.cat([padded_to(mask, len(places)) for mask in blocks]) == 0)
        assert not rows[:, [p for p in range(num_past + layout.num_tokens) if p not in places]].any()


def test_flash_layout_trains_like_the_padded_batch(flash: None) -> None:
    model = TinyModel(kernel="flash")
    examples = conversations(num_shared=40, num_own=20, num_rows=4)
    expected = model.padded(examples)
    for cut in [(None, None), (32, 0), (16, None)]:
        assert_same(model.tree(examples, *cut), expected, 1e-10)


def test_flex_gives_the_sdpa_loss_of_a_whole_model() -> None:
    from weatherman.engine.torch.step import tree_loss
    from weatherman.steps.passes import plan_passes

    examples = conversations(num_shared=150, num_own=60, num_rows=3)
    tree = build_tree(examples, max_segment_tokens=128)
    losses = []
    for kernel in ("sdpa", "flex"):
        model = TinyModel(kernel=kernel, dtype=torch.float32, hidden_size=64)
        with torch.no_grad(), model.attention(TREE_ATTENTION):
            losses += [
                tree_loss(model.network, tree, plan_passes(tree, budget), backward=False) for budget in (None, 128)
            ]
    assert max(losses) - min(losses) < 1e-5 * losses[0]


def test_flex_pads_to_whole_blocks() -> None:
    prepared = FlexTree.prepare(PassLayout((100, 40), ((), (0,)), 10), device=CPU)
    assert prepared.num_padding_tokens == 256 - 140
    assert prepared.block_mask(None).seq_lengths == (256, 384)


def test_a_missing_flash_package_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "flash_attn", None)
    with pytest.raises(WeathermanError, match="flash-attn"):
        prepare_kernel("flash", LAYOUTS[0], 1, torch.float32, CPU)


@pytest.mark.parametrize(
    ("wanted", "facts", "expected"),
    [
        ("auto", {"device": "cpu"}, "sdpa"),
        ("auto", {"device": "mps", "has_flash": True}, "sdpa"),
        ("auto", {"device": "cuda", "capability": (9, 0), "has_triton": True}, "flex"),
        ("auto", {"device": "cuda", "capability": (8, 0), "has_triton": True, "has_flash": True}, "flex"),
        ("auto", {"device": "cuda", "capability": (7, 5), "has_triton": True}, "sdpa"),
        ("auto", {"device": "cuda", "capability": (9, 0), "has_triton": False}, "sdpa"),
        ("sdpa", {"device": "cuda", "capability": (9, 0), "has_triton": True}, "sdpa"),
        ("flash", {"device": "cuda", "capability": (9, 0), "has_flash": True}, "flash"),
    ],
)
def test_the_choice_of_kernel(wanted: Any, facts: dict[str, Any], expected: str) -> None:
    assert choose_attention(wanted, **facts) == expected


@pytest.mark.parametrize(
    ("wanted", "facts"),
    [
        ("flex", {"device": "cpu", "has_triton": True}),
        ("flex", {"device": "cuda", "capability": (7, 5), "has_triton": True}),
        ("flash", {"device": "cuda", "capability": (9, 0)}),
        ("flash", {"device": "mps", "has_flash": True}),
    ],
)
def test_a_kernel_that_cannot_run_is_refused(wanted: Any, facts: dict[str, Any]) -> None:
    with pytest.raises(WeathermanError, match="attn_implementation: auto") as caught:
        choose_attention(wanted, **facts)
    assert caught.value.code == "engine.attention"
