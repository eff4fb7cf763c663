"""How `weatherman plan` shows a plan, and its verdict."""

from __future__ import annotations

import json

from weatherman import messages
from weatherman.errors import EXIT_FAILED, WeathermanError
from weatherman.planning.memory import GIB
from weatherman.planning.plan import Plan
from weatherman.progress import format_duration
from weatherman.records import describe_examples


def report_plan(plan: Plan, *, as_json: bool = False) -> int:
    """Show a plan.

    Args:
        plan: what a run will take.
        as_json: one JSON object on standard output, nothing else.

    Returns:
        The exit code: 1 if it cannot fit.
    """
    if as_json:
        print(messages.redact(json.dumps(plan.to_json(), allow_nan=False)))
        return 0 if plan.fits else EXIT_FAILED
    for line in plan_lines(plan):
        messages.say("PLAN", line)
    if not plan.fits:
        messages.error(too_large(plan))
        return EXIT_FAILED
    messages.success(f"It fits: {plan.memory.total / GIB:.1f} of {plan.memory_limit_bytes / GIB:.0f} GB")
    return 0


def too_large(plan: Plan) -> WeathermanError:
    """Why the plan is refused, and what would make it fit."""
    memory, limit = plan.memory, plan.memory_limit_bytes
    if memory.weights > limit - 2 * GIB:
        hint = f"use a larger machine or a smaller model: its weights alone are {memory.weights / GIB:.1f} GB."
    else:
        hint = "lower max_tokens_per_chunk or per_device_train_batch_size, or set gradient_checkpointing: true."
    return WeathermanError(
        "plan.memory", f"It cannot fit: {memory.total / GIB:.1f} GB needed, {limit / GIB:.0f} GB may be used.", hint
    )


def plan_lines(plan: Plan) -> list[str]:
    """The plan in lines, without their tag."""
    about = "about " if plan.tokens_are == "estimated" else ""
    lines = [
        f"{plan.model} on {plan.device}",
        f"{describe_examples(plan.num_conversations, plan.num_examples)}; "
        f"{about}{plan.num_tokens:,} tokens ({plan.tokens_are}), {plan.num_supervised_tokens:,} of them trained on"
        + (f"; {plan.num_dropped:,} conversations are too long and left out" if plan.num_dropped else ""),
        f"{plan.num_steps:,} steps of {plan.batch_size} ({plan.num_epochs:.1f} epochs)",
        f"Prefixes are shared {plan.share_factor:.2f} times over, "
        f"{'each computed once' if plan.sharing else 'not used'}: {plan.num_computed_tokens:,} tokens computed"
        + (f", at most {plan.max_tokens_per_chunk:,} together" if plan.max_tokens_per_chunk else ""),
        *memory_lines(plan),
        f"Time: {format_duration(plan.time_s[0])} to {format_duration(plan.time_s[1])} (estimate)",
    ]
    if plan.cost and plan.hourly_rate:
        low, high = plan.hourly_rate
        hours = [time_s / 3600 for time_s in plan.time_s]
        sums = [
            f"${rate * h:.2f} = ${rate:.2f} an hour x {h:.2f} hours" for rate, h in zip((low, high), hours, strict=True)
        ]
        lines.append(f"Money: {' to '.join(sums)}")
    if plan.budget:
        lines.append(f"Budget: {plan.budget}")
    return [*lines, *(f"Assumed: {text}" for text in plan.assumptions)]


def memory_lines(plan: Plan) -> list[str]:
    """The memory's parts, and the formula they are added by."""
    memory = plan.memory
    parts = {
        "weights": memory.weights,
        "adapter and its gradients": memory.adapter,
        "optimizer": memory.optimizer,
        "activations": memory.activations,
        "logits": memory.logits,
        "runtime": memory.runtime,
    }
    text = " + ".join(f"{name} {size / GIB:.2f}" for name, size in parts.items())
    return [f"Memory: {text} = {memory.total / GIB:.1f} GB at its peak, of {plan.memory_limit_bytes / GIB:.0f} GB"]
