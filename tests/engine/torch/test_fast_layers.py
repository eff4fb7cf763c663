"""Norms and MLPs in few passes give transformers' and PEFT's results, exactly as far as rounding goes."""

from __future__ import annotations

import pytest
import torch
from transformers.models.llama.modeling_llama import LlamaRMSNorm

from torch_models_for_tests import TinyModel, assert_same, conversations
from weatherman.engine.torch import fast_layers as torch_fast_layers
from weatherman.engine.torch.fast_layers import _MergedMlp, _RmsNorm, speed_up
from weatherman.engine.torch.fast_lora import MergedLora

FP64, FP32 = 1e-10, 1e-5
CUTS = [(None, None), (16, 20), (40, 0)]


@pytest.fixture(autouse=True)
def small_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch_fast_layers, "_BLOCK_TOKENS", 7)


@pytest.mark.parametrize("family", ["llama", "mistral"])
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, FP64), (torch.float32, FP32)])
@pytest.mark.parametrize("checkpointing", [False, True])
def test_a_step_has_the_stock_modules_gradients(
    family: str, dtype: torch.dtype, tolerance: float, checkpointing: bool
) -> None:
    examples = conversations(num_shared=50, num_own=20, num_rows=4)
    expected = TinyModel(family, dtype=dtype).padded(examples)
    model = TinyModel(family, dtype=dtype, checkpointing=checkpointing)
    merged = MergedLora(model.model)
    speed_up(model.model, merged)
    for cut in CUTS:
        assert_same(model.tree(examples, *cut), expected, tolerance)  # merged weights are not in use yet
        with merged.in_use():
            assert_same(model.tree(examples, *cut), expected, tolerance)


def test_norms_and_mlps_take_the_new_path_and_only_while_weights_are_merged(monkeypatch: pytest.MonkeyPatch) -> None:
    model = TinyModel(dtype=torch.float32)
    examples = conversations(num_shared=20, num_own=12, num_rows=2)
    merged = MergedLora(model.model)
    speed_up(model.model, merged)
    calls = {_RmsNorm: 0, _MergedMlp: 0}
    for function in calls:
        own = function.apply

        def count(*args: object, function: type = function, own: object = own) -> object:
            calls[function] += 1
            return own(*args)  # type: ignore[operator]

        monkeypatch.setattr(function, "apply", count)
    model.tree(examples)
    assert calls == {_RmsNorm: 5, _MergedMlp: 0}
    with merged.in_use():
        model.tree(examples)
        with model.model.disable_adapter(), torch.no_grad():
            model.base.model(torch.tensor([[1, 2, 3]]))
    assert calls == {_RmsNorm: 15, _MergedMlp: 2}


def test_the_norm_is_transformers_own_and_its_gradient_right() -> None:
    torch.manual_seed(0)
    norm = LlamaRMSNorm(24, eps=1e-5)
    norm.weight.data.normal_()
    x = torch.randn(2, 5, 24)
    torch.testing.assert_close(_RmsNorm.apply(x, norm.weight.detach(), 1e-5), norm(x), rtol=1e-6, atol=1e-6)
    wide, weight = x.double().requires_grad_(), norm.weight.detach().double()
    assert torch.autograd.gradcheck(lambda x: _RmsNorm.apply(x, weight, 1e-5), wide)


def test_other_models_modules_stay_as_they_are() -> None:
    model = TinyModel(hidden_act="gelu", dtype=torch.float32)
    merged = MergedLora(model.model)
    speed_up(model.model, merged)
    assert all("forward" not in vars(layer.mlp) for layer in model.base.model.layers)
    examples = conversations(num_shared=20, num_own=12, num_rows=2)
    expected = TinyModel(hidden_act="gelu", dtype=torch.float32).padded(examples)
    with merged.in_use():
        assert_same(model.tree(examples), expected, FP32)


def test_a_second_backward_pass_is_refused_rather_than_wrong() -> None:
    model = TinyModel(dtype=torch.float32)
    merged = MergedLora(model.model)
    speed_up(model.model, merged)
    with merged.in_use():
        loss = model.base.model.layers[0].mlp(torch.randn(1, 9, 32)).sum()
        loss.backward(retain_graph=True)
        with pytest.raises(RuntimeError, match="modified by an inplace operation"):
            loss.backward()
