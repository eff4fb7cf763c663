"""The start-up proof that attention is causal: change a token, and see what else changes. The same for every engine."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from weatherman.records import Rendered
from weatherman.steps.prefix_tree import PrefixTree, build_tree

_TOLERANCE = 1e-4
_PREFIX_TOKENS = 24
_BRANCH_TOKENS = 8
Hidden = NDArray[np.float32]


def find_leak(hidden: Callable[[NDArray[np.int32]], Hidden], vocab_size: int, *, branches: bool) -> str:
    """Perturb one token and compare hidden states before and after.

    Args:
        hidden: hidden states [N, D] of N token ids, computed as in training.
        vocab_size: tokens are drawn below it.
        branches: the ids are a prefix and two sibling branches (`hidden_of_tree`); otherwise one row.

    Returns:
        What leaks, in words; empty when nothing does and the perturbed token itself was seen to matter.
    """
    tokens = np.random.default_rng(0).permutation(min(vocab_size, 4096))[: _PREFIX_TOKENS + 2 * _BRANCH_TOKENS + 1]
    first = tokens[:-1].astype(np.int32)
    before = hidden(first)
    for begin in (_PREFIX_TOKENS, _PREFIX_TOKENS + _BRANCH_TOKENS):  # each branch in turn: either may come first
        changed_at = begin + _BRANCH_TOKENS // 2
        second = first.copy()
        second[changed_at] = tokens[-1]
        end = begin + _BRANCH_TOKENS if branches else len(first)
        if leak := _compare(before, hidden(second), changed_at, begin, end):
            return leak
    return ""


def _compare(before: Hidden, after: Hidden, changed_at: int, begin: int, end: int) -> str:
    """Say what changed that must not have, or did not change that must: places changed_at .. end - 1 see the token."""
    difference = np.abs(before - after).max(axis=-1) / np.abs(before).max()
    allowed = np.zeros(len(difference), np.bool_)
    allowed[changed_at:end] = True
    if not difference[~allowed].max() <= _TOLERANCE:  # also where it is not a number
        where = int(np.where(allowed, 0, difference).argmax())
        kind = "a sibling branch" if where >= end or _PREFIX_TOKENS <= where < begin else "a later token"
        return f"changing {kind} at place {changed_at} changes the hidden state at place {where}"
    if not difference[allowed].min() > 0:
        return f"changing token {changed_at} changes nothing after it"
    return ""


def hidden_of_tree(tree_hidden: Callable[[PrefixTree], Hidden], ids: NDArray[np.int32]) -> Hidden:
    """Hidden states of a prefix, a first and a second branch that are siblings.

    Args:
        tree_hidden: hidden states [N, D] of a whole tree in its flat order.
        ids: prefix and branches, as `find_leak` draws them.

    Returns:
        The states [N, D] in the order of `ids`.
    """
    prefix, branches = ids[:_PREFIX_TOKENS], ids[_PREFIX_TOKENS:].reshape(2, _BRANCH_TOKENS)
    order = np.argsort(branches[:, 0])
    rows = [np.concatenate([prefix, branch, branch[-1:]]) for branch in branches]
    mask = np.zeros(len(rows[0]), np.bool_)
    mask[-1] = True
    hidden = tree_hidden(build_tree([Rendered(row.astype(np.int32), mask) for row in rows]))
    parts = hidden[_PREFIX_TOKENS:].reshape(2, _BRANCH_TOKENS, -1)[np.argsort(order)]
    return np.concatenate([hidden[:_PREFIX_TOKENS], *parts])
