"""Cross-entropy at supervised positions only, a chunk of logits at a time, each chunk recomputed in its backward.

Every context is gathered once: a repeated index would be added up by atomics on Metal, in no fixed order. A fork's
several targets, and what a shared target weighs, are sums over one row of logits.

Shape legend: K contexts, V vocabulary, D hidden size.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import mlx.core as mx
import numpy as np
from numpy.typing import NDArray

from weatherman.steps.prefix_tree import Segment

_LOGITS_BYTES = 48 * 2**20
_COLUMNS = 256


@dataclass(frozen=True, slots=True)
class Targets:
    """What a pass is trained on.

    Attributes:
        places: int32 [K], each context once, in the pass's flat order.
        weight: float32 [K], what all targets of a context weigh together.
        row: int32, per (context, target) pair: the context's number; ascending.
        token: int32, per pair: the target.
        pair_weight: float32, per pair.
    """

    places: NDArray[np.int32]
    weight: NDArray[np.float32]
    row: NDArray[np.int32]
    token: NDArray[np.int32]
    pair_weight: NDArray[np.float32]

    @classmethod
    def of(cls, segments: Sequence[Segment], num_supervised_tokens: int) -> Targets:
        """Collect the targets of a pass's segments; the weights of a whole step sum to 1."""
        offsets = np.cumsum([0, *(len(segment.ids) for segment in segments)])
        place = np.concatenate([s.context + offset for s, offset in zip(segments, offsets, strict=False)])
        token = np.concatenate([segment.target for segment in segments]).astype(np.int32)
        weight = np.concatenate([segment.weight for segment in segments]) / max(1, num_supervised_tokens)
        places, row = np.unique(place, return_inverse=True)
        sums = np.bincount(row, weights=weight, minlength=len(places))
        return cls(
            places.astype(np.int32),
            sums.astype(np.float32),
            row.reshape(-1).astype(np.int32),
            token,
            weight.astype(np.float32),
        )


def log_sum_exp(scores_KV: mx.array) -> mx.array:
    """Log of the sum of exponentials, float32 [K], in two stages: one after the other the digits of a large V drift."""
    num, vocabulary = scores_KV.shape
    missing = -vocabulary % _COLUMNS
    if missing:
        scores_KV = mx.concatenate([scores_KV, mx.full((num, missing), -mx.inf, scores_KV.dtype)], axis=1)
    return mx.logsumexp(mx.logsumexp(scores_KV.reshape(num, -1, _COLUMNS), axis=-1), axis=-1)


def head_loss(hidden_ND: mx.array, targets: Targets, head: Callable[[mx.array], mx.array], vocabulary: int) -> mx.array:
    """Weighted sum of cross-entropies under a frozen output head.

    Args:
        hidden_ND: a pass's hidden states.
        targets: what follows which of them.
        head: hidden states to logits.
        vocabulary: V.

    Returns:
        ``sum_pairs weight * CE(head(hidden[context]), target)``, float32.
    """
    loss = mx.array(0.0)
    if not len(targets.places):
        return loss
    size = max(1, _LOGITS_BYTES // (vocabulary * 4))
    for begin in range(0, len(targets.places), size):
        end = begin + size
        low, high = np.searchsorted(targets.row, [begin, end])
        row, token = mx.array(targets.row[low:high] - begin), mx.array(targets.token[low:high])
        weight, pair_weight = mx.array(targets.weight[begin:end]), mx.array(targets.pair_weight[low:high])

        def chunk(
            hidden_KD: mx.array,
            row: mx.array = row,
            token: mx.array = token,
            weight: mx.array = weight,
            pair_weight: mx.array = pair_weight,
        ) -> mx.array:
            scores_KV = head(hidden_KD).astype(mx.float32)
            return (log_sum_exp(scores_KV) * weight).sum() - (scores_KV[row, token] * pair_weight).sum()

        loss = loss + mx.checkpoint(chunk)(hidden_ND[mx.array(targets.places[begin:end])])
    return loss
