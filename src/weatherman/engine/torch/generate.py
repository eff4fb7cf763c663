"""Greedy decoding of several prompts at once; the prefix that they share is computed once."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from transformers import DynamicCache

from weatherman.engine.prompts import MIN_SHARED_TOKENS, common_prefix_length


def generate(
    model: Any, prompts: Sequence[Sequence[int]], max_new_tokens: int, stop_token_ids: Sequence[int]
) -> list[list[int]]:
    """Continue prompts greedily.

    The rows are laid out as prefix, padding, rest: the padding is masked, and positions count the real tokens.

    Args:
        model: the causal language model, in evaluation mode.
        prompts: token ids, each at least one.
        max_new_tokens: the most tokens to generate per prompt.
        stop_token_ids: tokens that end a turn.

    Returns:
        The generated ids of each prompt, up to and without its first stop token.
    """
    shared = common_prefix_length(prompts) if len(prompts) > 1 else 0
    shared = shared if shared >= MIN_SHARED_TOKENS else 0
    width = max(len(prompt) for prompt in prompts)
    ids = torch.full((len(prompts), width), int(stop_token_ids[0]), dtype=torch.long)
    attention = torch.zeros(len(prompts), width, dtype=torch.long)
    for row, prompt in enumerate(prompts):
        rest = width - (len(prompt) - shared)
        ids[row, :shared], attention[row, :shared] = torch.tensor(prompt[:shared], dtype=torch.long), 1
        ids[row, rest:], attention[row, rest:] = torch.tensor(prompt[shared:], dtype=torch.long), 1
    cache = _prefix_cache(model, prompts[0][:shared], len(prompts)) if shared else DynamicCache(config=model.config)
    output = model.generate(
        input_ids=ids.to(model.device),
        attention_mask=attention.to(model.device),
        past_key_values=cache,
        max_new_tokens=max_new_tokens,
        do_sample=False,
        eos_token_id=list(stop_token_ids),
        pad_token_id=int(stop_token_ids[0]),
    )
    return [_until_stop(row[width:].tolist(), stop_token_ids) for row in output]


def _prefix_cache(model: Any, prefix: Sequence[int], num_rows: int) -> DynamicCache:
    cache = DynamicCache(config=model.config)
    model.model(input_ids=torch.tensor([list(prefix)], device=model.device), past_key_values=cache, use_cache=True)
    cache.batch_repeat_interleave(num_rows)
    return cache


def _until_stop(ids: list[int], stop_token_ids: Sequence[int]) -> list[int]:
    end = next((index for index, token in enumerate(ids) if token in stop_token_ids), len(ids))
    return ids[:end]
