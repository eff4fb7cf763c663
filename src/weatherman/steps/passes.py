"""How a step's prefix tree is cut to fit in memory: segments that go through the model together, and in which order."""

from __future__ import annotations

from dataclasses import dataclass

from weatherman.steps.prefix_tree import NO_PARENT, PrefixTree


@dataclass(frozen=True, slots=True)
class Pass:
    """Segments that go through the model together, and the passes that attend to them.

    With children, the pass is a trunk: its K and V are kept, detached, while the children run forward and backward
    against them; the gradients they leave there are then pushed through this pass. `recompute` says that the trunk's
    activations are not held meanwhile but computed a second time.
    """

    segments: tuple[int, ...]
    children: tuple[Pass, ...] = ()
    recompute: bool = False


def plan_passes(tree: PrefixTree, max_tokens_per_chunk: int | None, max_held_tokens: int | None = None) -> list[Pass]:
    """Cut a tree depth-first into passes of at most `max_tokens_per_chunk` tokens.

    A subtree that fits goes through the model in one pass, together with siblings as long as they fit; one that does
    not becomes a trunk whose children are planned in the same way.

    Args:
        tree: its segments must not be longer than the budget (`build_tree(max_segment_tokens=...)`).
        max_tokens_per_chunk: the budget of one pass; None for no limit.
        max_held_tokens: trunks whose path holds more tokens than this are recomputed; None holds all.

    Returns:
        The passes to run one after another.
    """
    children: dict[int, list[int]] = {NO_PARENT: []}
    subtree = [len(segment.ids) for segment in tree.segments]
    for index, segment in enumerate(tree.segments):
        children.setdefault(segment.parent, []).append(index)
    for index in reversed(range(len(tree.segments))):
        if (parent := tree.segments[index].parent) != NO_PARENT:
            subtree[parent] += subtree[index]
    budget = max_tokens_per_chunk or max(subtree, default=0) * len(subtree)
    return _plan_siblings(tree, children, subtree, NO_PARENT, budget, max_held_tokens, held=0)


def _plan_siblings(
    tree: PrefixTree,
    children: dict[int, list[int]],
    subtree: list[int],
    parent: int,
    budget: int,
    max_held_tokens: int | None,
    held: int,
) -> list[Pass]:
    passes: list[Pass] = []
    pack: list[int] = []
    num_packed = 0
    for index in children.get(parent, []):
        if subtree[index] > budget:
            held_here = held + len(tree.segments[index].ids)
            recompute = max_held_tokens is not None and held_here > max_held_tokens
            below = _plan_siblings(
                tree, children, subtree, index, budget, max_held_tokens, held if recompute else held_here
            )
            passes.append(Pass((index,), tuple(below), recompute))
            continue
        if pack and num_packed + subtree[index] > budget:
            passes.append(Pass(tuple(pack)))
            pack, num_packed = [], 0
        pack.extend(_subtree_segments(children, index))
        num_packed += subtree[index]
    if pack:
        passes.append(Pass(tuple(pack)))
    return passes


def _subtree_segments(children: dict[int, list[int]], index: int) -> list[int]:
    """A subtree's segments, parents first."""
    order, stack = [], [index]
    while stack:
        order.append(stack.pop())
        stack.extend(reversed(children.get(order[-1], [])))
    return order
