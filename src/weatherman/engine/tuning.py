"""Calibration: kernels tried and settings timed in child processes with time limits, remembered per machine."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from weatherman.config.schema import TrainingConfig, resolved
from weatherman.engine.calibration import Calibration, Setting, Timing, Trial, cache_key, fastest, read_timing
from weatherman.models.base_model import cache_folder
from weatherman.records import StepPlan

TIME_LIMIT_S = 90.0
_TRIAL_S = 40.0  # the first import of torch and the first compilation are in it
_CHILD = (sys.executable, "-m", "weatherman.engine.torch.trial")


@dataclass(frozen=True, slots=True)
class Bench:
    """Where settings are tried.

    Attributes:
        device: "cpu", "mps" or "cuda".
        facts: what a remembered calibration depends on: device, driver, torch, packages.
        kernels: those that the device and its packages could run.
        heads: the model's query heads, key-value heads and head size.
        child: the command that tries them; tests plant faults here.
        time_limit_s: for all of it.
        trial_limit_s: for each kernel's first trial.
    """

    device: str
    facts: dict[str, str]
    kernels: tuple[str, ...]
    heads: tuple[int, int, int]
    child: tuple[str, ...] = _CHILD
    time_limit_s: float = TIME_LIMIT_S
    trial_limit_s: float = _TRIAL_S
    began_s: float = field(default_factory=time.monotonic)

    @property
    def left_s(self) -> float:
        """Seconds that are left."""
        return self.time_limit_s - (time.monotonic() - self.began_s)


def calibrate(
    config: TrainingConfig, plan: StepPlan, bench: Bench, say: Callable[[str], None], *, fresh: bool = False
) -> Calibration:
    """Find the fastest setting that computes rightly, or remember it.

    Args:
        config: the run's; what it fixes is not varied.
        plan: one of the run's steps, to time.
        bench: where to try.
        say: hears what is being done.
        fresh: do not take a remembered one.

    Returns:
        What was tried and found. A kernel that fails is in its trials, with its problem; nothing is raised for it.
    """
    path = _cache_path(config, plan, bench)
    if not fresh and (known := _read(path)) is not None:
        say(f"The settings found before on this machine are taken ({path})")
        return known
    trials = tuple(_try_kernel(kernel, config, bench, say) for kernel in _kernels(config, bench))
    working = [one.kernel for one in trials if not one.problem]
    timings = tuple(_time(config, plan, working, bench, say)) if working else ()
    found = Calibration(trials, timings, fastest(timings))
    if found.best is not None:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(found.to_json(), indent=1) + "\n", encoding="utf-8")
    return found


def apply(config: TrainingConfig, best: Setting) -> TrainingConfig:
    """The configuration with what calibration found."""
    changes = {
        "attn_implementation": best.kernel,
        "gradient_checkpointing": best.recompute,
        "max_tokens_per_chunk": best.budget_tokens,
    }
    return config.model_copy(update=changes)


def warnings_of(trials: Sequence[Trial]) -> list[str]:
    """One sentence for each kernel that is passed over."""
    return [f"attention kernel {one.kernel} is passed over: {one.problem}" for one in trials if one.problem]


def _kernels(config: TrainingConfig, bench: Bench) -> tuple[str, ...]:
    return bench.kernels if config.attn_implementation == "auto" else (config.attn_implementation,)


def _try_kernel(kernel: str, config: TrainingConfig, bench: Bench, say: Callable[[str], None]) -> Trial:
    say(f"Trying attention kernel {kernel} on a small tree against float32 SDPA")
    request = {"kind": "kernel", "kernel": kernel, "device": bench.device, "dtype": config.dtype, "heads": bench.heads}
    limit_s = min(bench.trial_limit_s, bench.left_s)
    code, results = _ask(bench.child, request, limit_s)
    if results:
        return Trial(kernel, str(results[-1]["problem"]))
    if code is None:
        return Trial(kernel, f"it did not end within {max(0.0, limit_s):.0f} s")
    return Trial(kernel, f"its process died with exit code {code}")


def _time(
    config: TrainingConfig, plan: StepPlan, kernels: list[str], bench: Bench, say: Callable[[str], None]
) -> list[Timing]:
    say(f"Timing settings on a step of this run, for at most {max(0.0, bench.left_s):.0f} s")
    fixed = config.gradient_checkpointing
    request = {
        "kind": "timing",
        "config": {**resolved(config), "device": bench.device},
        "kernels": kernels,
        "recompute": [False, True] if fixed == "auto" else [fixed],
        "examples": [[one.ids.tolist(), one.mask.tolist()] for one in plan.examples],
    }
    _, results = _ask(bench.child, request, bench.left_s)
    return [read_timing(one) for one in results]


def _ask(child: Sequence[str], request: dict[str, Any], limit_s: float) -> tuple[int | None, list[dict[str, Any]]]:
    """Run the child; its exit code, None if it had to be killed, and the results that it gave until then."""
    if limit_s <= 0:
        return None, []
    process = subprocess.Popen(
        child, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, start_new_session=True
    )
    try:
        output, _ = process.communicate(json.dumps(request).encode(), timeout=limit_s)
        code: int | None = process.returncode
    except subprocess.TimeoutExpired:
        _kill(process)
        output, code = process.communicate()[0], None
    except BaseException:
        _kill(process)
        raise
    return code, list(_results(output))


def _kill(process: subprocess.Popen[bytes]) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)


def _results(output: bytes) -> list[dict[str, Any]]:
    found = []
    for line in output.decode(errors="replace").splitlines():
        with contextlib.suppress(ValueError):
            value = json.loads(line)
            if isinstance(value, dict):
                found.append(value)
    return found


def _cache_path(config: TrainingConfig, plan: StepPlan, bench: Bench) -> Path:
    keys = (
        "model_name_or_path", "model_revision", "dtype", "quantization", "lora_r", "lora_dropout", "target_modules",
        "attn_implementation", "gradient_checkpointing", "max_tokens_per_chunk", "num_threads", "max_seq_length",
    )  # fmt: skip
    values = resolved(config)
    facts = {
        **bench.facts,
        "device": bench.device,
        "heads": bench.heads,
        "kernels": bench.kernels,
        "config": {key: values[key] for key in keys},
        "batch": config.effective_batch_size,
        "tokens": plan.num_effective_tokens,
    }
    return cache_folder() / "calibration" / f"{cache_key(facts)}.json"


def _read(path: Path) -> Calibration | None:
    try:
        return Calibration.from_json(json.loads(path.read_text(encoding="utf-8")))
    except (OSError, ValueError, KeyError, TypeError):
        return None
