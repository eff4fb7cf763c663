"""Hidden states as the start-up proof of causality asks for them, of a prefix tree or of one padded row."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray

from weatherman.engine import leak
from weatherman.engine.torch.step import Network, tree_hidden


def find_leak(network: Network, vocab_size: int, *, sharing: bool) -> str:
    """Perturb one token and compare hidden states before and after.

    Args:
        network: the model in evaluation mode, its attention set as in training.
        vocab_size: tokens are drawn below it.
        sharing: test a prefix tree with two branches; otherwise one padded row.

    Returns:
        What leaks, in words; empty when nothing does and the perturbed token itself was seen to matter.
    """

    def of_row(ids: NDArray[np.int32]) -> leak.Hidden:
        row = torch.from_numpy(ids.astype(np.int64))[None].to(network.device)
        output = network.decoder(input_ids=row, attention_mask=torch.ones_like(row), use_cache=False)
        states: leak.Hidden = output.last_hidden_state[0].float().cpu().numpy()
        return states

    def of_tree(ids: NDArray[np.int32]) -> leak.Hidden:
        return leak.hidden_of_tree(lambda tree: tree_hidden(network, tree).float().cpu().numpy(), ids)

    return leak.find_leak(of_tree if sharing else of_row, vocab_size, branches=sharing)
