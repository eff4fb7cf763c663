"""What is measured: a job is one contender's one optimizer step on one workload; here are the workloads' examples.

Workloads, by their key:

- `step:R`: step R (1-based) of the run that a seed makes of the shipped data, 16 examples; the weights and the
  optimizer go on from step R - 1, so that after the last step every contender must have the same loss.
- `search:M`: the first 8 examples of step 1, with a micro-batch of M: finds TRL's best M, which all that pad use.
- `batch:B`: the first B examples from step 1 on: the cost as the step grows.
- `prefix:P`: 8 made-up examples that share a prefix of P tokens and go on with 256 tokens of their own.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from weatherman.config.load import load_config
from weatherman.config.schema import TrainingConfig
from weatherman.models.shape import ModelShape, model_shape
from weatherman.records import Rendered, StepPlan
from weatherman.run.training_data import load_training_data
from weatherman.steps.sampling import step_plans

ROOT = Path(__file__).resolve().parent.parent
DEMO_CONFIG = ROOT / "configs" / "training_config_demo.yaml"
STEP_EXAMPLES = 16
SEARCH_EXAMPLES = 8
PREFIX_EXAMPLES = 8
OWN_TOKENS = 256
LEARNING_RATE = 1e-3
_SETTINGS = (
    f"per_device_train_batch_size={STEP_EXAMPLES}",
    "gradient_accumulation_steps=1",
    "max_seq_length=4096",
    "max_train_examples=null",
    "personas=[]",
    "lora_dropout=0",
    "device=cpu",
    "dtype=float32",
    "num_threads=null",
)


@dataclass(frozen=True, slots=True)
class Job:
    """One measurement, in a process of its own.

    Attributes:
        contender: a key of `contenders.CONTENDERS`.
        workload: as the module says.
        micro_batch: examples that go through the model together, where the contender pads or packs.
        state_in: folder with the adapter and optimizer to go on from; None begins with fresh ones.
        state_out: folder to leave them in; None drops them.
        config: the configuration file that the benchmark's settings are laid over.
        clock: "wall", or "cpu" for one thread's CPU seconds.
    """

    contender: str
    workload: str
    micro_batch: int
    state_in: str | None = None
    state_out: str | None = None
    config: str = str(DEMO_CONFIG)
    clock: str = "wall"

    def to_json(self) -> dict[str, object]:
        """The job as plain JSON values."""
        return asdict(self)


def benchmark_config(path: Path = DEMO_CONFIG) -> TrainingConfig:
    """The configuration at `path` with 16-example steps over all of its data, in float32 on the CPU."""
    return load_config(path, _SETTINGS)


def require_shape(config: TrainingConfig) -> ModelShape:
    """The shape of the benchmark's model.

    Raises:
        ValueError: it is not known.
    """
    shape = model_shape(config.model_name_or_path)
    if shape is None:
        raise ValueError(f"the shape of {config.model_name_or_path} is not known")
    return shape


def workload_plan(workload: str, config: TrainingConfig) -> StepPlan:
    """Give the examples of a workload as one optimizer step.

    Args:
        workload: its key.
        config: the benchmark's.

    Returns:
        The step.

    Raises:
        ValueError: there is no such workload.
    """
    kind, number = split_workload(workload)
    if kind == "prefix":
        return as_plan(
            made_up_examples(
                PREFIX_EXAMPLES, number, OWN_TOKENS, seed=number, vocabulary=require_shape(config).vocabulary
            )
        )
    examples = load_training_data(config).train
    if kind == "step":
        (plan,) = step_plans(examples, batch_size=STEP_EXAMPLES, seed=config.seed, first_step=number, last_step=number)
        return plan
    count = {"search": SEARCH_EXAMPLES, "batch": number}.get(kind)
    if count is None:
        raise ValueError(f"no such workload: {workload}")
    (plan,) = step_plans(examples, batch_size=count, seed=config.seed, first_step=1, last_step=1)
    return plan


def split_workload(workload: str) -> tuple[str, int]:
    """A workload's kind and number."""
    kind, _, number = workload.partition(":")
    return kind, int(number)


def as_plan(examples: list[Rendered]) -> StepPlan:
    """Make one step of these examples."""
    return StepPlan(1, 0, tuple(range(len(examples))), tuple(examples))


def made_up_examples(count: int, prefix_tokens: int, own_tokens: int, *, seed: int, vocabulary: int) -> list[Rendered]:
    """Make examples of random tokens that share a prefix and nothing else.

    Args:
        count: examples.
        prefix_tokens: what they share.
        own_tokens: what each adds; the second half of it is supervised.
        seed: draws the tokens.
        vocabulary: token ids are below this.

    Returns:
        The examples; the first own tokens all differ.
    """
    generator = np.random.Generator(np.random.PCG64(seed))
    prefix = generator.integers(0, vocabulary, prefix_tokens)
    firsts = generator.choice(vocabulary, count, replace=False)
    mask = np.arange(prefix_tokens + own_tokens) >= prefix_tokens + own_tokens // 2
    examples = []
    for first in firsts:
        own = generator.integers(0, vocabulary, own_tokens)
        own[0] = first
        examples.append(Rendered(np.concatenate([prefix, own]).astype(np.int32), mask, "made up"))
    return examples


def warm_up_plan(plan: StepPlan) -> StepPlan:
    """A short step to begin with: the two shortest examples, so that nothing is measured the first time it runs."""
    return as_plan(sorted(plan.examples, key=lambda example: len(example.ids))[:2])
