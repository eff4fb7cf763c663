"""Turns of one conversation that share their context become one example; the others stand by themselves."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, slots=True)
class EncodedTurn:
    """Token ids of a prompt and of what the assistant says behind it, stop token included."""

    prompt: list[int]
    completion: list[int]


@dataclass(slots=True)
class View:
    """Token ids of a context with its supervised turns; `mask` is true where a token is supervised."""

    ids: NDArray[np.int32]
    mask: NDArray[np.bool_]


def merge_turns(turns: Iterable[EncodedTurn]) -> list[View]:
    """Put each turn behind the views that its prompt begins with, token by token; the rest are views of their own.

    Args:
        turns: in the order of the conversation.

    Returns:
        The views. Every completion is supervised in exactly one of them, behind exactly its prompt.
    """
    views: list[View] = []
    num_supervised = 0
    for turn in turns:
        ids = np.array(turn.prompt + turn.completion, np.int32)
        mask = np.zeros(len(ids), np.bool_)
        mask[len(turn.prompt) :] = True
        num_supervised += len(turn.completion)
        kept = []
        for view in views:
            length = len(view.ids)
            if length <= len(turn.prompt) and np.array_equal(view.ids, ids[:length]):
                mask[:length] |= view.mask
            else:
                kept.append(view)
        views = [*kept, View(ids, mask)]
    found = sum(int(view.mask.sum()) for view in views)
    assert found == num_supervised, f"{found} tokens are supervised, {num_supervised} were said"
    return views
