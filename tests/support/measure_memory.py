"""Train the demo model for two steps in this process and print its peak memory and the plan's estimate, as JSON.

Run: python tests/support/measure_memory.py '{"prefix": 450, "examples": 3, "tail": 250, "config": {"sharing": "on"}}'
"""

from __future__ import annotations

import json
import sys

import numpy as np

from weatherman.config.schema import TrainingConfig
from weatherman.engine.torch.engine import TorchEngine
from weatherman.models.shape import model_shape
from weatherman.planning.memory import Memory, estimate_memory
from weatherman.planning.plan import held_by_step
from weatherman.planning.time import dtype_bytes
from weatherman.records import Rendered, StepPlan

SUPERVISED = 80


def examples(prefix: int, count: int, tail: int) -> tuple[Rendered, ...]:
    """Conversations that share their first `prefix` tokens."""
    generator = np.random.default_rng(0)
    shared = generator.integers(10, 40_000, prefix)
    found = []
    for _ in range(count):
        ids = np.concatenate([shared, generator.integers(10, 40_000, tail)]).astype(np.int32)
        mask = np.zeros(len(ids), np.bool_)
        mask[-SUPERVISED:] = True
        found.append(Rendered(ids, mask))
    return tuple(found)


def estimated(config: TrainingConfig, engine: TorchEngine, step: tuple[Rendered, ...]) -> Memory:
    """The plan's formula for this very step."""
    shape = model_shape(config.model_name_or_path)
    assert shape is not None
    held, _ = held_by_step(config, step, engine.info.sharing, engine.info.max_tokens_per_chunk or 0)
    return estimate_memory(shape, config, held, device="cpu", dtype_bytes=dtype_bytes(config))


def main(case: dict[str, object]) -> None:
    """Measure one case."""
    config = TrainingConfig(device="cpu", num_threads=1, max_tokens_per_chunk=None).model_copy(update=case["config"])  # type: ignore[arg-type]
    step = examples(int(case["prefix"]), int(case["examples"]), int(case["tail"]))  # type: ignore[call-overload]
    engine = TorchEngine(config, sharing=config.sharing == "on", stop_token_ids=[2])
    for number in (1, 2):
        engine.step(StepPlan(number, 0, tuple(range(len(step))), step), 1e-4)
    memory = estimated(config, engine, step)
    print(json.dumps({"measured_bytes": engine.peak_memory_bytes(), "estimated_bytes": memory.total}))


if __name__ == "__main__":
    main(json.loads(sys.argv[1]))
