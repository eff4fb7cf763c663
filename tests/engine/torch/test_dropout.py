"""LoRA dropout: the right share of elements, independent between tokens, features, modules and steps, and stateless."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from torch_models_for_tests import TinyModel
from weatherman.engine.stateless import stateless_seed
from weatherman.engine.torch.dropout import DropoutState, TreeDropout, replace_lora_dropout


def mask(rate: float, *, name: str = "q", seed: int = 1, step: int = 1, tokens: range = range(400)) -> torch.Tensor:
    state = DropoutState()
    state.set_tokens(seed, step, np.array(tokens), torch.device("cpu"))
    return TreeDropout(rate, name, state)(torch.ones(1, len(tokens), 600))[0]


@pytest.mark.parametrize("rate", [0.05, 0.1, 0.2])
def test_elements_are_dropped_at_the_rate_and_the_rest_scaled(rate: float) -> None:
    found = mask(rate)
    assert set(found.unique().tolist()) == {0.0, float(torch.tensor(1.0) / (1 - rate))}
    dropped = (found == 0).double()
    spread = (rate * (1 - rate)) ** 0.5
    assert abs(float(dropped.mean()) - rate) < 4 * spread / dropped.numel() ** 0.5
    for dim in (0, 1):  # no token and no feature is special
        deviation = (dropped.mean(dim=dim) - rate) / (spread / dropped.shape[dim] ** 0.5)
        assert float(deviation.abs().max()) < 5
        assert 0.8 < float(deviation.std()) < 1.2


def test_masks_are_independent_of_each_other() -> None:
    first = (mask(0.2) == 0).double().flatten() - 0.2
    others = [mask(0.2, name="k"), mask(0.2, seed=2), mask(0.2, step=2), mask(0.2, tokens=range(400, 800))]
    others += [mask(0.2).roll(1, dims=0), mask(0.2).roll(1, dims=1)]
    for other in others:
        correlation = float((first * ((other == 0).double().flatten() - 0.2)).mean()) / 0.16
        assert abs(correlation) < 4 / len(first) ** 0.5


def test_a_tokens_mask_does_not_depend_on_its_company() -> None:
    assert torch.equal(mask(0.2)[100:150], mask(0.2, tokens=range(100, 150)))


def test_nothing_is_dropped_in_eval_mode_or_at_rate_zero() -> None:
    hidden = torch.randn(1, 3, 4)
    assert TreeDropout(0.2, "q", DropoutState()).eval()(hidden) is hidden
    assert TreeDropout(0.0, "q", DropoutState())(hidden) is hidden


def test_every_lora_layer_gets_a_mask_of_its_own() -> None:
    model = TinyModel(dropout=0.1).model
    replace_lora_dropout(model, 0.1)
    names = [module.name for module in model.modules() if isinstance(module, TreeDropout)]
    assert len(names) == len(set(names)) == 2 * 7


def test_seeds_differ_and_are_reproducible() -> None:
    assert stateless_seed(1, 2) == stateless_seed(1, 2) != stateless_seed(12)
    assert 0 <= stateless_seed("x") < 2**63
