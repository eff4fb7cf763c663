"""Keys and values of tokens that were computed already, for a prompt that begins with the same ones."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from transformers import DynamicCache
from transformers.cache_utils import DynamicLayer


@dataclass(frozen=True, slots=True)
class KeptPrompt:
    """What the last pass left.

    Attributes:
        cache: its keys and values; it belongs to the next pass, which changes it.
        ids: the tokens of that pass, at least as many as the cache holds.
    """

    cache: Any = None
    ids: Sequence[int] = ()

    def cache_for(self, prompt: Sequence[int]) -> DynamicCache | None:
        """The cache, cut to what `prompt` begins with; None where nothing of it can be used.

        Args:
            prompt: token ids; its last one is always computed anew, since its logits are wanted.
        """
        if type(self.cache) is not DynamicCache or any(type(layer) is not DynamicLayer for layer in self.cache.layers):
            return None  # other kinds of caches and layers cannot be cut anywhere
        num_known = min(self.cache.get_seq_length(), len(self.ids), len(prompt) - 1)
        same = next((place for place in range(num_known) if self.ids[place] != prompt[place]), num_known)
        if not same:
            return None
        if surplus := self.cache.get_seq_length() - same:
            self.cache.crop(-surplus)
        return self.cache
