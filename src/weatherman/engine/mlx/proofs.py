"""What is proven on the device itself before the first step; nothing of it is taken on trust."""

from __future__ import annotations

import mlx.core as mx
import numpy as np
from numpy.typing import NDArray

from weatherman.engine.leak import Hidden, find_leak, hidden_of_tree
from weatherman.engine.mlx.decoder import Decoder
from weatherman.engine.mlx.step import TreeRun
from weatherman.errors import WeathermanError
from weatherman.steps.prefix_tree import PrefixTree

_TORCH_HINT = "set engine: torch, or use another version of MLX."


def prove_causality(decoder: Decoder, device_name: str) -> None:
    """Change a future token, and a sibling's, and compare hidden states, all inside a gradient's trace.

    Metal's attention uses other kernels there than outside.

    Raises:
        WeathermanError: a token sees what it must not.
    """

    def of_tree(tree: PrefixTree) -> Hidden:
        run = TreeRun(decoder, tree, 0, None, backward=False)

        def traced(weights: list) -> tuple[mx.array, mx.array]:
            decoder.adapter.weights, before = weights, decoder.adapter.weights
            try:
                hidden = run.hidden(range(len(tree.segments)))
            finally:
                decoder.adapter.weights = before
            return hidden.astype(mx.float32).sum(), hidden.astype(mx.float32)

        (_, hidden), gradients = mx.value_and_grad(traced)(decoder.adapter.weights)
        mx.eval(hidden, gradients)
        decoder.adapter.use()
        states: Hidden = np.array(hidden)
        return states

    def of_branches(ids: NDArray[np.int32]) -> Hidden:
        return hidden_of_tree(of_tree, ids)

    if leak := find_leak(of_branches, decoder.vocabulary, branches=True):
        raise WeathermanError("engine.leak", f"attention on {device_name} leaks: {leak}.", _TORCH_HINT)
