"""Branches of a prefix tree computed side by side on a CPU: each worker a part of the cores, and gradients of its own.

Between the large products of one branch a step has many small ones, which a second core cannot help with; two branches
at a time keep both cores at work. Nothing is left to chance: which worker takes which pass is decided by their sizes,
each worker adds up its gradients in order, and the workers' sums are added in order, so a step gives the same bits
each time.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import TypeVar

import torch
from torch import Tensor

Result = TypeVar("Result")


@dataclass(frozen=True, slots=True)
class Crew:
    """Workers that share out the intra-op threads of this process.

    Attributes:
        num_workers: how many work at the same time.
        num_threads: intra-op threads of the process outside a crew's work.
    """

    num_workers: int
    num_threads: int

    @classmethod
    def of(cls, num_workers: int, num_threads: int) -> Crew | None:
        """A crew of so many; None where one works alone."""
        return cls(num_workers, num_threads) if num_workers > 1 else None

    def run(self, tasks: Sequence[Callable[[], Result]], *, gradients: bool) -> list[Result]:
        """Run tasks at the same time, one worker each.

        Args:
            tasks: at most `num_workers`.
            gradients: whether autograd records; the mode does not follow into a thread by itself.

        Returns:
            Their results, in order.
        """
        each = max(1, self.num_threads // self.num_workers)

        def work(task: Callable[[], Result]) -> Result:
            torch.set_num_threads(each)
            with torch.set_grad_enabled(gradients):
                return task()

        before = torch.get_num_threads()
        pool = ThreadPoolExecutor(len(tasks))
        stopped = False
        try:
            return list(pool.map(work, tasks))
        except KeyboardInterrupt:  # somebody wants to leave at once: the others are not waited for
            stopped = True
            raise
        finally:
            pool.shutdown(wait=not stopped)
            torch.set_num_threads(before)


def share_out(sizes: Sequence[int], num_shares: int) -> list[list[int]]:
    """Share out work evenly: the largest first, each to whoever has least so far.

    Args:
        sizes: of the pieces.
        num_shares: how many take part.

    Returns:
        For each share the places of its pieces, ascending; no share is empty.
    """
    shares: list[list[int]] = [[] for _ in range(min(num_shares, len(sizes)))]
    loads = [0] * len(shares)
    for place in sorted(range(len(sizes)), key=lambda place: -sizes[place]):
        least = loads.index(min(loads))
        shares[least].append(place)
        loads[least] += sizes[place]
    return [sorted(share) for share in shares if share]


@dataclass(slots=True)
class GradientSink:
    """The gradients of one worker, summed apart from `.grad`.

    Attributes:
        parameters: whose gradients.
        sums: for each of them what was added so far.
    """

    parameters: Sequence[Tensor]
    sums: list[Tensor | None] = field(init=False)

    def __post_init__(self) -> None:
        """Begin with nothing."""
        self.sums = [None] * len(self.parameters)

    def backward(
        self, roots: Sequence[Tensor], gradients: Sequence[Tensor | None], collecting: Sequence[Tensor]
    ) -> None:
        """Go backward from `roots` and add up.

        Args:
            roots: as `torch.autograd.backward`.
            gradients: theirs.
            collecting: leaves whose gradients go elsewhere by themselves, but only if autograd goes as far as them.
        """
        found = torch.autograd.grad(roots, [*self.parameters, *collecting], gradients, allow_unused=True)
        for place, gradient in enumerate(found[: len(self.parameters)]):
            if gradient is not None:
                before = self.sums[place]
                self.sums[place] = gradient if before is None else before.add_(gradient)

    def flush_to_grad(self) -> None:
        """Add the sums to the parameters' `.grad`."""
        for parameter, total in zip(self.parameters, self.sums, strict=True):
            if total is not None:
                parameter.grad = total if parameter.grad is None else parameter.grad.add_(total)
        self.sums = [None] * len(self.parameters)
