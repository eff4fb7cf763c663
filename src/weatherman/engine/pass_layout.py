"""Which tokens of a pass may see which: the geometry of tree attention, the same for every engine and kernel."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from weatherman.steps.prefix_tree import PrefixTree


@dataclass(frozen=True, slots=True)
class PassLayout:
    """Which tokens of a pass may see which; all counts in tokens.

    Attributes:
        lengths: the segments' sizes, in the order of the flat buffer, which is depth-first.
        ancestors: per segment, the places in the pass of the segments before it on its path, root first.
        num_past_tokens: P, tokens of the trunks above; every token of the pass sees them all.
    """

    lengths: tuple[int, ...]
    ancestors: tuple[tuple[int, ...], ...]
    num_past_tokens: int

    @property
    def num_tokens(self) -> int:
        """N, the size of the flat buffer."""
        return sum(self.lengths)

    @property
    def offsets(self) -> list[int]:
        """Where each segment begins in the flat buffer."""
        return [sum(self.lengths[:place]) for place in range(len(self.lengths))]


def lay_out(tree: PrefixTree, segments: Sequence[int], num_past_tokens: int) -> PassLayout:
    """Find the layout of a pass.

    Args:
        tree: the step's tree.
        segments: the pass's segments in depth-first order; the others on their paths are in the trunks above.
        num_past_tokens: tokens of those trunks.

    Returns:
        The layout.
    """
    place = {segment: position for position, segment in enumerate(segments)}
    return PassLayout(
        lengths=tuple(len(tree.segments[segment].ids) for segment in segments),
        ancestors=tuple(tuple(place[a] for a in tree.ancestors(segment) if a in place) for segment in segments),
        num_past_tokens=num_past_tokens,
    )


def visible(layout: PassLayout) -> NDArray[np.bool_]:
    """Write out what each token of a pass may see.

    Returns:
        Bool [N, P + N]: query in the flat buffer, key in the trunks above and then the buffer; true where it is seen.
    """
    num, past = layout.num_tokens, layout.num_past_tokens
    seen = np.zeros((num, past + num), np.bool_)
    seen[:, :past] = True
    offsets = layout.offsets
    for place, length in enumerate(layout.lengths):
        rows = slice(offsets[place], offsets[place] + length)
        for other in layout.ancestors[place]:
            seen[rows, past + offsets[other] : past + offsets[other] + layout.lengths[other]] = True
        seen[rows, past + rows.start : past + rows.stop] = np.tri(length, dtype=np.bool_)
    return seen
