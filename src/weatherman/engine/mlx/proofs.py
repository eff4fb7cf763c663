"""What is proven on the device itself before the first step; nothing of it is taken on trust.

Metal's kernels differ by shape, by type and by whether a gradient is traced, and have been silently wrong before.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import mlx.core as mx
import mlx.nn as nn
import numpy as np
from numpy.typing import NDArray

from weatherman import messages
from weatherman.engine.leak import Hidden, find_leak, hidden_of_tree
from weatherman.engine.mlx.decoder import Decoder, PassInput, run_layers
from weatherman.engine.mlx.lora import LayerWeights
from weatherman.engine.mlx.step import Gradients, TreeRun
from weatherman.errors import WeathermanError
from weatherman.records import Rendered
from weatherman.steps.passes import plan_passes
from weatherman.steps.prefix_tree import SHARES_NOTHING, PrefixTree, build_tree

_TORCH_HINT = "set engine: torch (with quantization: none), or use another version of MLX."
_ROWS = 45  # no multiple of a kernel's tile
_PREFIX_TOKENS, _BRANCH_TOKENS, _TRUNK_TOKENS = 24, 9, 24
# Relative errors: of float32, and of bfloat16, whose own rounding is 0.004.
_TOLERANCE = {mx.float32: 1e-3, mx.bfloat16: 5e-2}


def prove_causality(decoder: Decoder, device_name: str) -> None:
    """Change a future token, and a sibling's, and compare hidden states, all inside a gradient's trace.

    Raises:
        WeathermanError: a token sees what it must not.
    """

    def of_tree(tree: PrefixTree) -> Hidden:
        run = TreeRun(decoder, tree, 0, None, backward=False)

        def traced(weights: list[LayerWeights]) -> tuple[mx.array, mx.array]:
            hidden = run.hidden(range(len(tree.segments)), weights).astype(mx.float32)
            return hidden.sum(), hidden

        (_, hidden), gradients = mx.value_and_grad(traced)(decoder.adapter.weights)
        mx.eval(hidden, gradients)
        states: Hidden = np.array(hidden)
        return states

    def of_branches(ids: NDArray[np.int32]) -> Hidden:
        return hidden_of_tree(of_tree, ids)

    leak = find_leak(of_branches, decoder.vocabulary, branches=True)
    decoder.adapter.use()
    if leak:
        raise WeathermanError("engine.leak", f"attention on {device_name} leaks: {leak}.", _TORCH_HINT)


def prove_quantised_backward(model: Any, dtype: mx.Dtype, device_name: str) -> None:
    """Compare the gradient through each shape of quantised product with the dequantised one's.

    Raises:
        WeathermanError: they differ by more than rounding.
    """
    seen = set()
    for path, module in model.named_modules():
        if not isinstance(module, nn.QuantizedLinear):
            continue
        shape = (*module.weight.shape, module.bits)
        if shape in seen:
            continue
        seen.add(shape)
        worst = quantised_error(module, dtype)
        if not worst <= _TOLERANCE[dtype]:
            raise WeathermanError(
                "engine.quantised-backward",
                f"the gradient through the {module.bits}-bit product of {path} on {device_name} is wrong by "
                f"{worst:.2g} of its size.",
                _TORCH_HINT,
            )


def quantised_error(module: Any, dtype: mx.Dtype) -> float:
    """The largest difference of the input's gradient from the dequantised product's, relative to the largest entry."""
    weight = mx.dequantize(
        module.weight, module.scales, module.biases, group_size=module.group_size, bits=module.bits, mode=module.mode
    ).astype(mx.float32)
    num_outputs, num_inputs = weight.shape
    key = mx.random.key(0)  # a key of its own: MLX's global state stays as it was
    upstream = mx.random.normal((1, _ROWS, num_outputs), key=key).astype(dtype)

    def product(x: mx.array) -> mx.array:
        return (module(x).astype(mx.float32) * upstream.astype(mx.float32)).sum()

    found = mx.grad(product)(mx.ones((1, _ROWS, num_inputs), dtype)).astype(mx.float32)
    expected = upstream.astype(mx.float32) @ weight
    return float(mx.abs(found - expected).max() / mx.abs(expected).max())


def prove_step(decoder: Decoder, dtype: mx.Dtype, device_name: str) -> None:
    """Compute one small step as a tree with a trunk, twice, and once without sharing.

    Raises:
        WeathermanError: loss or gradients of the two ways differ by more than rounding.
    """
    adapter = decoder.adapter
    weights = adapter.weights
    adapter.weights = [
        {name: (a, _filled(b, index)) for name, (a, b) in one.items()} for index, one in enumerate(weights)
    ]
    try:
        rows = _rows(decoder.vocabulary)
        first, again = (_gradients(decoder, rows, 1, _TRUNK_TOKENS) for _ in range(2))
        alone = _gradients(decoder, rows, SHARES_NOTHING, None)
    finally:
        adapter.weights = weights
        adapter.use()
    worst = _difference(first, alone)
    if not worst <= _TOLERANCE[dtype]:
        text = f"a step over its prefix tree on {device_name} differs from one without sharing by {worst:.2g}."
        raise WeathermanError("engine.tree", text, _TORCH_HINT)
    if not all(np.array_equal(one, other) for one, other in zip(first, again, strict=True)):
        messages.warning(
            f"The same step gave other bits the second time on {device_name}: a run that is resumed here will be as "
            "good, but not bit-identical."
        )


def _filled(b: mx.array, index: int) -> mx.array:
    """B as it might be after some training: at zero, the gradient of A is zero and proves nothing."""
    return mx.random.normal(b.shape, scale=0.02, key=mx.random.key(index))


def _rows(vocabulary: int) -> list[Rendered]:
    tokens = np.random.default_rng(1).integers(0, min(vocabulary, 4096), _PREFIX_TOKENS + 2 * _BRANCH_TOKENS)
    prefix, branches = tokens[:_PREFIX_TOKENS], tokens[_PREFIX_TOKENS:].reshape(2, _BRANCH_TOKENS)
    branches[1, 0] = (branches[0, 0] + 1) % vocabulary
    mask = np.zeros(_PREFIX_TOKENS + _BRANCH_TOKENS, np.bool_)
    mask[_PREFIX_TOKENS - 4 :] = True
    return [Rendered(np.concatenate([prefix, branch]).astype(np.int32), mask) for branch in branches]


def _gradients(
    decoder: Decoder, rows: Sequence[Rendered], min_shared: int, budget: int | None
) -> list[NDArray[np.float32]]:
    tree = build_tree(rows, min_shared_tokens=min_shared, max_segment_tokens=budget)
    run = TreeRun(decoder, tree, 0, None, backward=True)
    run.run_all(plan_passes(tree, budget))
    return [np.array(run.loss), *_flat(run.gradients)]


def _flat(gradients: Gradients) -> list[NDArray[np.float32]]:
    return [np.array(one) for layer in gradients for pair in layer.values() for one in pair]


def _difference(found: list[NDArray[np.float32]], expected: list[NDArray[np.float32]]) -> float:
    """The larger of the loss's and the whole gradient's relative difference."""
    loss = abs(float(found[0] - expected[0])) / max(1e-6, abs(float(expected[0])))
    apart = sum(float(((one - other) ** 2).sum()) for one, other in zip(found[1:], expected[1:], strict=True))
    size = sum(float((other**2).sum()) for other in expected[1:])
    ratio = float(np.sqrt(apart / size)) if size > 0 else float("nan")
    return max(loss, ratio) if np.isfinite(loss + ratio) else float("inf")


def try_largest_pass(decoder: Decoder, budget: int, max_seq_length: int) -> int:
    """Compute a pass of `budget` tokens at the end of the longest row, forward and backward.

    Out of memory, Metal ends the process: better before the first step than in the night.

    Returns:
        The most bytes that MLX had in use so far.
    """
    num_tokens = min(budget, max_seq_length)
    num_past = max_seq_length - num_tokens
    positions = np.arange(num_past, max_seq_length)
    mask = np.concatenate([np.ones((num_tokens, num_past), np.bool_), np.tri(num_tokens, dtype=np.bool_)], axis=1)
    given = PassInput(mx.zeros((1, num_tokens), mx.int32), decoder.rope.depths(positions), mx.array(mask))
    shape = decoder.key_value_shape(num_past)
    past = [[(mx.zeros(shape, decoder.dtype), mx.zeros(shape, decoder.dtype)) for _ in decoder.model.layers]]

    def traced(weights: list[LayerWeights], above: list) -> mx.array:
        hidden, own = run_layers(decoder, given, weights, above)
        total = hidden.astype(mx.float32).sum()
        return total + sum((key.astype(mx.float32).sum() + value.astype(mx.float32).sum()) for key, value in own)

    mx.eval(mx.value_and_grad(traced, argnums=(0, 1))(decoder.adapter.weights, past if num_past else []))
    decoder.adapter.use()
    return int(mx.get_peak_memory())
