"""Randomness that depends on names and numbers alone, the same in every engine and however often it is drawn."""

from __future__ import annotations

import hashlib

import numpy as np
from numpy.typing import NDArray


def stateless_seed(*parts: int | str) -> int:
    """Make a 63-bit seed of any parts, independent of every global generator."""
    text = "/".join(map(str, parts))
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "big") >> 1


def place_keys(seed: int, places: NDArray[np.int64]) -> NDArray[np.int32]:
    """One 32-bit key per place: splitmix64's output, its upper half."""
    with np.errstate(over="ignore"):
        z = np.uint64(seed) + (places.astype(np.uint64) + np.uint64(1)) * np.uint64(0x9E3779B97F4A7C15)
        z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        z ^= z >> np.uint64(31)
    return (z >> np.uint64(32)).astype(np.uint32).view(np.int32)
