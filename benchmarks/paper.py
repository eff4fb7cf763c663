"""The paper estimate: minutes and dollars of Mistral-7B's 3 epochs on one H100, from the shipped data's own tokens.

Usage: python -m benchmarks.paper > benchmarks/results/DATE-paper.json. Only the tokens are counted, nothing is
measured: docs/performance.md quotes it as an estimate.
"""

from __future__ import annotations

import json
import sys
from dataclasses import asdict, dataclass

from benchmarks.gpu import PEAKS, SHAPE
from benchmarks.gpu_data import mistral_examples
from benchmarks.jobs import STEP_EXAMPLES
from benchmarks.roofline import body_parameters
from weatherman.steps.prefix_tree import MIN_SHARED_TOKENS, build_tree
from weatherman.steps.sampling import num_conversations, step_plans, steps_per_epoch

EPOCHS = 3
UTILISATION = (0.25, 0.45)
HOURLY_RATES = (2.0, 3.0)
MICRO_BATCH = 4
_FLOPS_PER_PARAMETER = 4
_SEED = 42


@dataclass(frozen=True, slots=True)
class Estimate:
    """One way to run. FLOPs of all epochs, minutes and dollars as (low, high)."""

    way: str
    computed_tokens: int
    flops: float
    minutes: tuple[float, float]
    dollars: tuple[float, float]


def estimate(way: str, computed_tokens: int, supervised_tokens: int) -> Estimate:
    """Work out a way's time and money.

    Args:
        way: its name.
        computed_tokens: tokens through the model in all epochs.
        supervised_tokens: targets in all epochs, where the head is needed.

    Returns:
        The estimate, over `UTILISATION` and `HOURLY_RATES`.
    """
    head = SHAPE.vocabulary * SHAPE.hidden
    flops = _FLOPS_PER_PARAMETER * (body_parameters(SHAPE) * computed_tokens + head * supervised_tokens)
    seconds = [flops / (PEAKS["H100"] * share) for share in reversed(UTILISATION)]
    dollars = [rate * second / 3600 for rate, second in zip(HOURLY_RATES, seconds, strict=True)]
    minutes = [second / 60 for second in seconds]
    return Estimate(way, computed_tokens, float(flops), (minutes[0], minutes[1]), (dollars[0], dollars[1]))


def count() -> dict[str, float]:
    """Count an epoch of the shipped data in 16-example steps: tokens trained on, targets, and computed each way."""
    examples, _ = mistral_examples(None)
    steps = steps_per_epoch(num_conversations(examples), STEP_EXAMPLES)
    found = {"examples": len(examples), "steps": steps, "effective": 0, "supervised": 0, "padded": 0, "tree": 0}
    for plan in step_plans(examples, batch_size=STEP_EXAMPLES, seed=_SEED, first_step=1, last_step=steps):
        lengths = [len(example.ids) for example in plan.examples]
        for begin in range(0, len(lengths), MICRO_BATCH):
            micro = lengths[begin : begin + MICRO_BATCH]
            found["padded"] += len(micro) * max(micro)
        found["tree"] += build_tree(plan.examples, min_shared_tokens=MIN_SHARED_TOKENS).num_computed_tokens
        found["effective"] += plan.num_effective_tokens
        found["supervised"] += plan.num_supervised_tokens
    return found


def main() -> int:
    """Print the estimate as JSON."""
    tokens = count()
    ways = {"padded": tokens["padded"], "packed": tokens["effective"], "prefix tree": tokens["tree"]}
    estimates = [
        asdict(estimate(way, EPOCHS * int(number), EPOCHS * int(tokens["supervised"]))) for way, number in ways.items()
    ]
    share = tokens["effective"] / tokens["tree"]
    print(json.dumps({"epoch": tokens, "share_factor": share, "estimates": estimates}, indent=1))
    return 0


if __name__ == "__main__":
    sys.exit(main())
