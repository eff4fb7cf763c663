"""One measure of a data set, its goal, and what came of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

Verdict = Literal["ok", "fail", "unknown", "info"]
_NUM_SHOWN = 3


@dataclass(frozen=True, slots=True)
class Metric:
    """A measure.

    Attributes:
        name: stable and machine-readable, e.g. ``distinct-4``.
        value: what was measured; None if that was not possible.
        goal: what it must be, in words; empty if it is only told.
        verdict: "ok", "fail", "unknown" (cannot be known here, never counted as ok), or "info" (no goal).
        detail: what a reader wants to know beside it: the worst case, or why nothing was measured.
    """

    name: str
    value: Any
    goal: str = ""
    verdict: Verdict = "info"
    detail: str = ""

    def as_json(self) -> dict[str, Any]:
        """For machines."""
        fields = {"name": self.name, "value": self.value, "goal": self.goal, "verdict": self.verdict}
        return {**fields, "detail": self.detail} if self.detail else fields


def judged(name: str, value: Any, goal: str, *, ok: bool, detail: str = "") -> Metric:
    """A measure with a goal."""
    return Metric(name, value, goal, "ok" if ok else "fail", detail)


def unknown(name: str, goal: str, why: str) -> Metric:
    """A measure that cannot be taken here."""
    return Metric(name, None, goal, "unknown", why)


def some(texts: Sequence[str]) -> str:
    """The first few texts, as a detail names them."""
    return "; ".join(texts[:_NUM_SHOWN])
