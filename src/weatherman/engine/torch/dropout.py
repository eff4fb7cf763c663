"""LoRA dropout whose mask is a stateless function of (seed, step, module, tree token, feature).

A token that is computed twice (recomputation, a trunk's second pass) draws the same mask both times, however the step
is cut into passes; torch's own dropout draws from a global generator and cannot promise that. The mask is an integer
hash (Wellons's "lowbias32" without its last step) of a token's key and a feature's: the same on every device.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from weatherman.engine.stateless import place_keys, stateless_seed

_INT32_MIN = -(2**31)


@dataclass(slots=True)
class DropoutState:
    """The keys of a pass's tokens, int32 [N]; the step sets them before each pass."""

    token_keys: Tensor | None = None

    def set_tokens(self, seed: int, step: int, places: NDArray[np.int64], device: torch.device) -> None:
        """Say which tokens come next, by their places in the tree's flat order."""
        self.token_keys = torch.from_numpy(place_keys(stateless_seed(seed, step), places)).to(device)


def keep_mask(token_keys_N: Tensor, feature_keys_D: Tensor, rate: float) -> Tensor:
    """Bool [N, D], true with probability 1 - rate, from the keys alone."""
    mixed = token_keys_N[:, None] ^ feature_keys_D
    mixed ^= (mixed >> 16) & 0xFFFF
    mixed *= 0x7FEB352D
    mixed ^= (mixed >> 15) & 0x1FFFF
    mixed *= 0x846CA68B - 2**32
    return mixed >= _INT32_MIN + round(rate * 2**32)


class TreeDropout(nn.Module):
    """Dropout over the flat buffer of a pass [1, N, D].

    Args:
        rate: the probability of dropping an element.
        name: the module's name, part of what the mask depends on.
        state: the keys of the tokens at hand.
    """

    def __init__(self, rate: float, name: str, state: DropoutState) -> None:
        super().__init__()
        self.rate, self.name, self.state = rate, name, state

    def forward(self, hidden_1ND: Tensor) -> Tensor:
        """Drop elements with probability `rate` and scale the rest by 1 / (1 - rate); the identity in eval mode."""
        if not self.training or self.rate == 0:
            return hidden_1ND
        assert self.state.token_keys is not None, "the step sets the tokens before each pass"
        features = np.arange(hidden_1ND.shape[-1])
        feature_keys = torch.from_numpy(place_keys(stateless_seed("feature", self.name), features)).to(
            hidden_1ND.device
        )
        keep = keep_mask(self.state.token_keys, feature_keys, self.rate)
        return hidden_1ND * (keep.to(hidden_1ND.dtype) / (1 - self.rate))


def replace_lora_dropout(model: nn.Module, rate: float) -> DropoutState:
    """Give every LoRA layer of `model` a stateless dropout.

    Args:
        model: a PEFT model; its `lora_dropout` modules are replaced in place.
        rate: the probability of dropping an element.

    Returns:
        The state that the masks are drawn from.
    """
    state = DropoutState()
    for name, module in model.named_modules():
        dropouts = getattr(module, "lora_dropout", None)
        if isinstance(dropouts, nn.ModuleDict):
            for adapter in list(dropouts):
                dropouts[adapter] = TreeDropout(rate, name, state)
    return state
