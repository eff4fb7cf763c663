"""What of a run's effect is sent to its tracker: both validation losses, both tool scores, the sample answers."""

from __future__ import annotations

from weatherman.effect.effect import Effect
from weatherman.run.tracking import Tracker

SAMPLES = "samples"


def track_effect(tracker: Tracker, step: int, before: Effect, after: Effect) -> None:
    """Send what training changed, at its last step: trackers take no step that is earlier than their last one.

    Args:
        tracker: where to.
        step: the run's last step.
        before: the base model.
        after: the model with its adapter.
    """
    tracker.log(step, {"validation/loss": after.validation_loss, **effect_metrics(before, after)})
    tracker.log_table(step, SAMPLES, sample_rows(before, after))


def effect_metrics(before: Effect, after: Effect) -> dict[str, float]:
    """The figures by their names in a tracker; tool scores are shares from 0 to 1, where any prompt was judged."""
    metrics: dict[str, float] = {}
    for name, effect in (("before", before), ("after", after)):
        metrics[f"effect/validation_loss_{name}"] = effect.validation_loss
        if effect.tools.num_prompts:
            metrics[f"effect/valid_tool_calls_{name}"] = effect.tools.num_valid / effect.tools.num_prompts
            metrics[f"effect/right_tool_{name}"] = effect.tools.num_right_tool / effect.tools.num_prompts
    return metrics


def sample_rows(before: Effect, after: Effect) -> list[dict[str, str]]:
    """One row a sample: who was asked what, and both answers."""
    return [
        {"persona": new.persona, "asked": new.prompt, "before": old.answer, "after": new.answer}
        for old, new in zip(before.samples, after.samples, strict=True)
    ]
