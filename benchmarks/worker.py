"""One measurement in a process of its own: `python -m benchmarks.worker JOB`, JOB being a job as JSON.

Loads the contender, warms up with a short step whose effect is undone, takes the job's step, prints one line of JSON.
"""

from __future__ import annotations

import json
import os
import resource
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from benchmarks.contenders import CONTENDERS, Contender
from benchmarks.jobs import LEARNING_RATE, Job, benchmark_config, split_workload, warm_up_plan, workload_plan
from benchmarks.preparation import measure_preparation
from benchmarks.roofline import measure_peak
from weatherman.records import StepPlan


def measure(job: Job) -> dict[str, Any]:
    """Run a job.

    Args:
        job: what to measure.

    Returns:
        Its figures, as plain JSON values.
    """
    others: dict[str, Callable[[Job], dict[str, Any]]] = {
        "roofline": lambda job: measure_peak(benchmark_config(Path(job.config))),
        "preparation": lambda job: measure_preparation(
            benchmark_config(Path(job.config)), split_workload(job.workload)[1], job.clock
        ),
    }
    load = os.getloadavg()[0]
    return {**others.get(job.contender, measure_step)(job), "load": load}


def measure_step(job: Job) -> dict[str, Any]:
    """Let a contender take its step."""
    config = benchmark_config(Path(job.config))
    plan = workload_plan(job.workload, config)
    contender = CONTENDERS[job.contender].start(config, job.micro_batch)
    warm_up(contender, plan, job.state_in)
    timed = contender.step(plan, LEARNING_RATE)
    if job.state_out:
        contender.save(Path(job.state_out))
    return {
        "wall_s": timed.wall_s,
        "cpu_s": timed.cpu_s,
        "loss": timed.loss,
        "effective_tokens": plan.num_effective_tokens,
        "computed_tokens": timed.computed_tokens,
        "supervised_tokens": plan.num_supervised_tokens,
        "peak_bytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024,
    }


def warm_up(contender: Contender, plan: StepPlan, state_in: str | None) -> None:
    """Take a short step, then set adapter and optimizer to what the measured step begins with."""
    with tempfile.TemporaryDirectory() as folder:
        fresh = Path(folder) / "fresh"
        short = warm_up_plan(plan)
        contender.step(short, 0.0)
        if state_in:
            contender.load(Path(state_in))
            return
        contender.save(fresh)
        forget_optimizer(fresh / "optimizer.safetensors")
        contender.load(fresh)


def forget_optimizer(path: Path) -> None:
    """Set a saved AdamW's moments and step counts to zero, which is how a new one begins."""
    import torch
    from safetensors.torch import load_file, save_file

    save_file({name: torch.zeros_like(tensor) for name, tensor in load_file(path).items()}, path)


if __name__ == "__main__":
    print(json.dumps(measure(Job(**json.loads(sys.argv[1])))))
