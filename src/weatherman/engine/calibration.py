"""Which kernel, recomputation and token budget a run takes: rules about what was tried and timed, without torch."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from weatherman.engine.token_budget import MIN_TOKENS

MAX_MEMORY_SHARE = 0.9
_NUM_BUDGETS = 3
# The largest relative distance of outputs and gradients from float32 SDPA that rounding explains.
TOLERANCES = {"float32": 1e-4, "bfloat16": 3e-2}


@dataclass(frozen=True, slots=True)
class Trial:
    """What came of trying one kernel on a small tree; `problem` is empty where it agrees with float32 SDPA."""

    kernel: str
    problem: str = ""


@dataclass(frozen=True, slots=True)
class Setting:
    """What a run can be computed with; the budget is in tokens of one pass."""

    kernel: str
    recompute: bool
    budget_tokens: int


@dataclass(frozen=True, slots=True)
class Timing:
    """A setting on one of the run's own steps.

    Attributes:
        setting: which.
        tokens_per_s: effective tokens a second; 0 where it could not run.
        memory_share: of the device's memory at the peak; 0 where that is not known.
        problem: why it is not taken; empty where it can be.
    """

    setting: Setting
    tokens_per_s: float
    memory_share: float = 0.0
    problem: str = ""


@dataclass(frozen=True, slots=True)
class Calibration:
    """Everything that was tried, and what was found fastest; None where nothing could be timed."""

    trials: tuple[Trial, ...]
    timings: tuple[Timing, ...]
    best: Setting | None

    def to_json(self) -> dict[str, Any]:
        """As plain JSON values."""
        return {
            "trials": [{"kernel": one.kernel, "problem": one.problem} for one in self.trials],
            "timings": [_timing_json(one) for one in self.timings],
            "best": _setting_json(self.best) if self.best else None,
        }

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Calibration:
        """Read what `to_json` wrote.

        Raises:
            KeyError, TypeError: it is something else.
        """
        timings = tuple(read_timing(one) for one in value["timings"])
        best = Setting(**value["best"]) if value["best"] else None
        return cls(tuple(Trial(**one) for one in value["trials"]), timings, best)


def _setting_json(setting: Setting) -> dict[str, Any]:
    return {"kernel": setting.kernel, "recompute": setting.recompute, "budget_tokens": setting.budget_tokens}


def _timing_json(timing: Timing) -> dict[str, Any]:
    figures = {"tokens_per_s": timing.tokens_per_s, "memory_share": timing.memory_share, "problem": timing.problem}
    return {"setting": _setting_json(timing.setting), **figures}


def read_timing(value: Mapping[str, Any]) -> Timing:
    """A timing from its JSON values."""
    return Timing(Setting(**value["setting"]), value["tokens_per_s"], value["memory_share"], value["problem"])


def budgets(largest_tokens: int) -> list[int]:
    """The token budgets to time: the largest that should fit, and halves of it; multiples of 128, largest first."""
    found = [largest_tokens >> place for place in range(_NUM_BUDGETS)]
    return sorted({max(MIN_TOKENS, one // MIN_TOKENS * MIN_TOKENS) for one in found}, reverse=True)


def first_settings(kernels: Sequence[str], recompute: Sequence[bool], largest: Mapping[bool, int]) -> list[Setting]:
    """The first round: each kernel once, in the largest passes; without recomputation where that is allowed.

    Args:
        kernels: those that agree with the reference.
        recompute: the choices that the configuration leaves open.
        largest: the largest budget in tokens, by recomputation.
    """
    first = min(recompute)
    return [Setting(kernel, first, largest[first]) for kernel in kernels]


def further_settings(
    timed: Sequence[Timing], kernels: Sequence[str], recompute: Sequence[bool], choices: Mapping[bool, Sequence[int]]
) -> list[Setting]:
    """The second round: the fastest kernel with every recomputation and budget that was not timed yet.

    Args:
        timed: the first round.
        kernels: those that agree; the first of them where the first round had no winner.
        recompute: the choices that the configuration leaves open.
        choices: budgets in tokens, by recomputation.
    """
    best = fastest(timed)
    kernel = best.kernel if best else kernels[0]
    wanted = [Setting(kernel, again, budget) for again in sorted(recompute) for budget in choices[again]]
    done = {one.setting for one in timed}
    return [one for one in wanted if one not in done]


def fastest(timings: Sequence[Timing]) -> Setting | None:
    """The setting with the most tokens a second of those that ran and left memory free; the first of equals."""
    fitting = [one for one in timings if not one.problem and one.tokens_per_s > 0]
    return max(fitting, key=lambda one: one.tokens_per_s).setting if fitting else None


def judge_memory(share: float) -> str:
    """Why a setting with this peak is not taken: a longer conversation may come; empty where there is room."""
    return f"{share:.0%} of the memory at the peak leaves too little" if share > MAX_MEMORY_SHARE else ""


def cache_key(facts: Mapping[str, Any]) -> str:
    """Name a calibration by all that it depends on: GPU, driver, torch, model, configuration, data."""
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()[:16]


def table(calibration: Calibration) -> list[str]:
    """The timings as lines of text, fastest first, and then what could not run."""
    rows = sorted(calibration.timings, key=lambda one: -one.tokens_per_s)
    lines = []
    for one in rows:
        setting = one.setting
        words = one.problem or f"{one.tokens_per_s:,.0f} tokens/s"
        mark = " (taken)" if setting == calibration.best else ""
        again = "recomputed" if setting.recompute else "kept"
        lines.append(f"{setting.kernel}, activations {again}, {setting.budget_tokens:,} tokens a pass: {words}{mark}")
    return lines
