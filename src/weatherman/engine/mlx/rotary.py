"""Rotary positions by depth in a prefix tree: any position for any token, from the model's own rotary module.

Shape legend: N tokens of a pass, D head size.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import mlx.core as mx
import numpy as np
from numpy.typing import NDArray

_MIN_TABLE = 256


@dataclass(frozen=True, slots=True)
class Depths:
    """Cosines and sines, float32 [N, D / 2], of the positions of a pass's tokens; stands in for a cache's offset."""

    cos: mx.array
    sin: mx.array


class DepthRope:
    """A layer's rotary module that also takes `Depths`.

    Args:
        rope: the model's own module, which keeps doing the work where the offset is a number (generation).
        head_dim: D, all of which is rotated, as halves.
    """

    def __init__(self, rope: Callable[..., mx.array], head_dim: int) -> None:
        self._rope = rope
        self.head_dim = head_dim
        self._table = (mx.zeros((0, head_dim // 2)), mx.zeros((0, head_dim // 2)))

    def __call__(self, x: mx.array, offset: Any = 0) -> mx.array:
        """Rotate [..., N, D]."""
        if not isinstance(offset, Depths):
            return self._rope(x, offset=offset)
        first, second = mx.split(x.astype(mx.float32), 2, axis=-1)
        rotated = [first * offset.cos - second * offset.sin, second * offset.cos + first * offset.sin]
        return mx.concatenate(rotated, axis=-1).astype(x.dtype)

    def depths(self, positions: NDArray[np.int64]) -> Depths:
        """Look up positions [N]; the table is what the module makes of the vector (1, .., 1, 0, .., 0)."""
        needed = int(positions.max()) + 1
        if len(self._table[0]) < needed:
            length = max(_MIN_TABLE, 1 << (needed - 1).bit_length())
            half = self.head_dim // 2
            ones = mx.concatenate([mx.ones((1, 1, length, half)), mx.zeros((1, 1, length, half))], axis=-1)
            cos, sin = mx.split(self._rope(ones, offset=0)[0, 0], 2, axis=-1)
            mx.eval(cos, sin)
            self._table = (cos, sin)
        places = mx.array(positions)
        return Depths(self._table[0][places], self._table[1][places])
