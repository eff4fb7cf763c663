"""The start-up proof that attention is causal: change a token, and see what else changes."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from weatherman.engine.torch.step import Network, tree_hidden
from weatherman.records import Rendered
from weatherman.steps.prefix_tree import build_tree

_TOLERANCE = 1e-4
_PREFIX_TOKENS = 24
_BRANCH_TOKENS = 8


def find_leak(network: Network, vocab_size: int, *, sharing: bool) -> str:
    """Perturb one token and compare hidden states before and after.

    Args:
        network: the model in evaluation mode, its attention set as in training.
        vocab_size: tokens are drawn below it.
        sharing: test a prefix tree with two branches; otherwise one padded row.

    Returns:
        What leaks, in words; empty when nothing does and the perturbed token itself was seen to matter.
    """
    tokens = np.random.default_rng(0).permutation(min(vocab_size, 4096))[: _PREFIX_TOKENS + 2 * _BRANCH_TOKENS + 1]
    first = tokens[:-1].astype(np.int32)
    hidden = _tree_hidden if sharing else _row_hidden
    before = hidden(network, first)
    for begin in (_PREFIX_TOKENS, _PREFIX_TOKENS + _BRANCH_TOKENS):  # each branch in turn: either may come first
        changed_at = begin + _BRANCH_TOKENS // 2
        second = first.copy()
        second[changed_at] = tokens[-1]
        end = begin + _BRANCH_TOKENS if sharing else len(first)
        if leak := _compare(before, hidden(network, second), changed_at, begin, end):
            return leak
    return ""


def _compare(before: Tensor, after: Tensor, changed_at: int, begin: int, end: int) -> str:
    """Say what changed that must not have, or did not change that must: places changed_at .. end - 1 see the token."""
    difference = (before - after).abs().amax(dim=-1) / before.abs().max()
    allowed = torch.zeros(len(difference), dtype=torch.bool)
    allowed[changed_at:end] = True
    if float(difference[~allowed].max()) > _TOLERANCE:
        where = int(torch.where(~allowed, difference, 0).argmax())
        kind = "a sibling branch" if where >= end or _PREFIX_TOKENS <= where < begin else "a later token"
        return f"changing {kind} at place {changed_at} changes the hidden state at place {where}"
    if float(difference[allowed].min()) <= 0:
        return f"changing token {changed_at} changes nothing after it"
    return ""


def _row_hidden(network: Network, ids: np.ndarray) -> Tensor:
    row = torch.from_numpy(ids.astype(np.int64))[None].to(network.device)
    output = network.decoder(input_ids=row, attention_mask=torch.ones_like(row), use_cache=False)
    return output.last_hidden_state[0].float().cpu()


def _tree_hidden(network: Network, ids: np.ndarray) -> Tensor:
    """Hidden states of prefix, first branch and second branch, the branches being siblings."""
    prefix, branches = ids[:_PREFIX_TOKENS], ids[_PREFIX_TOKENS:].reshape(2, _BRANCH_TOKENS)
    order = np.argsort(branches[:, 0])
    rows = [np.concatenate([prefix, branch, branch[-1:]]) for branch in branches]
    mask = np.zeros(len(rows[0]), np.bool_)
    mask[-1] = True
    tree = build_tree([Rendered(row.astype(np.int32), mask) for row in rows])
    hidden = tree_hidden(network, tree).float().cpu()
    parts = hidden[_PREFIX_TOKENS:].reshape(2, _BRANCH_TOKENS, -1)[np.argsort(order)]
    return torch.cat([hidden[:_PREFIX_TOKENS], parts.flatten(0, 1)])
