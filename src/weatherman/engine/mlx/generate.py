"""Greedy decoding with mlx-lm's cache; the prefix that all prompts share is computed once."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import mlx.core as mx
from mlx_lm.models.cache import KVCache

from weatherman.engine.prompts import MIN_SHARED_TOKENS, common_prefix_length


def generate(
    model: Any, prompts: Sequence[Sequence[int]], max_new_tokens: int, stop_token_ids: Sequence[int]
) -> list[list[int]]:
    """Continue prompts greedily, one after another.

    Args:
        model: mlx-lm's causal language model.
        prompts: token ids, each at least one.
        max_new_tokens: the most tokens to generate per prompt.
        stop_token_ids: tokens that end a turn.

    Returns:
        The generated ids of each prompt, up to and without its first stop token.
    """
    shared = common_prefix_length(prompts) if len(prompts) > 1 else 0
    shared = shared if shared >= MIN_SHARED_TOKENS else 0
    prefix = _prefill(model, prompts[0][:shared]) if shared else None
    return [continue_one(model, prompt[shared:], max_new_tokens, stop_token_ids, prefix) for prompt in prompts]


def _prefill(model: Any, ids: Sequence[int]) -> list[KVCache]:
    cache = [KVCache() for _ in model.layers]
    model(mx.array(list(ids))[None], cache=cache)
    mx.eval([(one.keys, one.values) for one in cache])
    return cache


def _copy(cache: KVCache) -> KVCache:
    """The same K and V in arrays of its own: a cache writes into its arrays in place."""
    copy = KVCache()
    copy.keys, copy.values = (mx.array(one[..., : cache.offset, :]) for one in (cache.keys, cache.values))
    copy.offset = cache.offset
    return copy


def continue_one(
    model: Any,
    ids: Sequence[int],
    max_new_tokens: int,
    stop_token_ids: Sequence[int],
    prefix: Sequence[KVCache] | None = None,
    on_token: Callable[[int], None] | None = None,
) -> list[int]:
    """Continue one prompt whose beginning may be in `prefix`; `on_token` hears each token as it comes."""
    cache = [_copy(one) for one in prefix] if prefix else [KVCache() for _ in model.layers]
    found: list[int] = []
    fed = list(ids)
    for _ in range(max_new_tokens):
        scores = model(mx.array(fed)[None], cache=cache)[0, -1]
        token = int(mx.argmax(scores))
        if token in stop_token_ids:
            break
        found.append(token)
        if on_token:
            on_token(token)
        fed = [token]
    return found
