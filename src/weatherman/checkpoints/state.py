"""What a checkpoint holds besides weights (`state.json`), and how one that is whole but unusable is told.

A manifest proves that the files are those that were written, not who wrote them; so their content is checked as well.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Protocol

from weatherman.errors import WeathermanError
from weatherman.records import StepPlan
from weatherman.system.atomic import read_json_object, write_json

STATE_FILE = "state.json"
_MAX_BYTES = 2**22
_TEXTS = ("data", "template", "tokenizer")
_MAPPINGS = ("config", "engine", "versions")


class Restorable(Protocol):
    """What takes weights and an optimizer back: the engine."""

    def load(self, folder: Path) -> None:
        """Restore adapter and optimizer from a checkpoint folder."""


def write_state(folder: Path, plan: StepPlan, seed: int, frozen: dict[str, Any] | None) -> None:
    """Write `state.json`: order, dropout and schedule are functions of (seed, step), so these two are their state."""
    state = {
        "step": plan.step,
        "epoch": plan.epoch,
        "seed": seed,
        "last_example_ids": list(plan.example_ids),
        "frozen": frozen,
    }
    write_json(folder / STATE_FILE, state)


def read_frozen(checkpoint: Path) -> dict[str, Any]:
    """Read what a checkpoint's run may not change.

    Raises:
        WeathermanError: `state.json` is not one that this program writes.
    """
    try:
        frozen: Any = read_json_object(checkpoint / STATE_FILE, _MAX_BYTES).get("frozen")
    except ValueError as problem:
        raise unusable(checkpoint, f"{STATE_FILE} cannot be used: {problem}") from problem
    if reason := frozen_problem(frozen):
        raise unusable(checkpoint, f"{STATE_FILE} {reason}")
    return frozen


def frozen_problem(frozen: Any) -> str:
    """Why this is not what a run may not change; empty if it is."""
    if not isinstance(frozen, dict):
        return "says nothing of the run's settings"
    for names, kind in ((_TEXTS, str), (_MAPPINGS, dict)):
        if wrong := [name for name in names if not isinstance(frozen.get(name), kind)]:
            return f"has no usable {wrong[0]}"
    odd = _engine_problem(frozen["engine"]) or horizon_problem(frozen)
    return f"has an impossible {odd}" if odd else ""


def horizon_problem(frozen: dict[str, Any]) -> str:
    """What is wrong with the end that a budget settled; empty if nothing is, or if none was."""
    horizon = frozen.get("horizon")
    if horizon is None:
        return ""
    if not isinstance(horizon, dict) or set(horizon) != {"settled_at", "settled"}:
        return "horizon"
    at, last = horizon["settled_at"], horizon["settled"]
    return "" if type(at) is int and type(last) is int and 1 <= at <= last else "horizon"


def _engine_problem(engine: dict[str, Any]) -> str:
    threads, budget = engine.get("num_threads"), engine.get("max_tokens_per_chunk")
    if type(threads) is not int or not 1 <= threads <= 1024:
        return "num_threads"
    if budget is not None and (type(budget) is not int or budget < 1):
        return "max_tokens_per_chunk"
    return "" if isinstance(engine.get("sharing"), bool) else "sharing"


def restore(engine: Restorable, checkpoint: Path) -> None:
    """Give the engine a checkpoint's weights and optimizer.

    Raises:
        WeathermanError: they do not fit the model, are no weights at all, or cannot be read.
    """
    try:
        engine.load(checkpoint)
    except (WeathermanError, MemoryError):
        raise
    except OSError as problem:
        if problem.errno is not None:
            raise
        raise WeathermanError(  # a library's own, which says of any failure that there is no such file
            "checkpoint.unreadable",
            f"{checkpoint} verified a moment ago and cannot be read now: {problem}.",
            "look after the disk, then run the same command.",
        ) from problem
    except Exception as problem:  # whatever a library throws at content that is not what it should be
        raise unusable(checkpoint, f"{type(problem).__name__}: {problem}") from problem


def unusable(checkpoint: Path, reason: str) -> WeathermanError:
    """Make the error for a checkpoint that verifies and yet cannot be used."""
    return WeathermanError(
        "checkpoint.unusable",
        f"{checkpoint} is whole, but it is not one that this program writes: {reason}.",
        f"move {checkpoint.name} away and run the same command; it goes on from the one before.",
    )
