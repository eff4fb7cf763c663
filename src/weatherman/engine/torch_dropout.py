"""LoRA dropout whose mask is a stateless function of (seed, step, module, segment).

A segment that is computed twice (recomputation, a trunk's second pass) draws the same mask both times, in whatever
order segments are run; torch's own dropout draws from a global generator and cannot promise that.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn


@dataclass(slots=True)
class DropoutState:
    """What the masks depend on; the step keeps it up to date. `segments` lists (segment, number of tokens)."""

    seed: int = 0
    step: int = 0
    segments: Sequence[tuple[int, int]] = field(default_factory=tuple)


def stateless_seed(*parts: int | str) -> int:
    """A 63-bit seed from any parts, independent of every global generator."""
    text = "/".join(map(str, parts))
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "big") >> 1


class SegmentDropout(nn.Module):
    """Dropout over the flat buffer of a pass [1, N, D], one generator per segment."""

    def __init__(self, rate: float, name: str, state: DropoutState) -> None:
        super().__init__()
        self.rate = rate
        self.name = name
        self.state = state

    def forward(self, hidden_1ND: Tensor) -> Tensor:
        """Drop elements with probability `rate` and scale the rest by 1 / (1 - rate); the identity in eval mode."""
        if not self.training or self.rate == 0:
            return hidden_1ND
        keep = 1 - self.rate
        masks = [self._mask(segment, size, hidden_1ND) for segment, size in self.state.segments]
        return hidden_1ND * (torch.cat(masks).unsqueeze(0) / keep)

    def _mask(self, segment: int, num_tokens: int, like: Tensor) -> Tensor:
        generator = torch.Generator(device=like.device)
        generator.manual_seed(stateless_seed(self.state.seed, self.state.step, self.name, segment))
        mask = torch.empty(num_tokens, like.shape[-1], dtype=like.dtype, device=like.device)
        return mask.bernoulli_(1 - self.rate, generator=generator)


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
                dropouts[adapter] = SegmentDropout(rate, name, state)
    return state
