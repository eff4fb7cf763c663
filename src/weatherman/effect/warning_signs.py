"""Whether training taught anything: what before and after say if it did not, with the likely causes."""

from __future__ import annotations

from weatherman.effect.effect import Effect

_FLAT = 0.01  # of the loss: less than this is nothing
_ALREADY_GOOD = 0.05  # nats a token: a base that knows the data cannot get better


def warning_signs(before: Effect, after: Effect) -> list[str]:
    """Say what a run failed to teach.

    Args:
        before: the base model.
        after: the same with the adapter.

    Returns:
        One sentence for each sign, its likely causes included; none for a run that learned.
    """
    found = []
    if sign := _loss_sign(before.validation_loss, after.validation_loss):
        found.append(sign)
    old, new = before.tools, after.tools
    if new.num_prompts and new.num_valid < old.num_valid:
        found.append(
            f"fewer valid tool calls than before ({new.num_valid} of {new.num_prompts}, it was {old.num_valid}): "
            "look whether the training data has the tools of the validation data, and calls at all."
        )
    elif new.num_prompts and not new.num_valid:
        found.append(
            f"no valid tool call on {new.num_prompts} held-out prompts: too few steps, a learning_rate that is too "
            "low, or training data without calls to these tools."
        )
    return found


def _loss_sign(before: float, after: float) -> str:
    change = f"{before:.4f} before, {after:.4f} after"
    if after > before * (1 + _FLAT):
        return (
            f"the validation loss rose ({change}): a learning_rate that is too high, too many epochs of too little "
            "data, or validation data of another kind."
        )
    if after > before * (1 - _FLAT) and before > _ALREADY_GOOD:
        return (
            f"the validation loss did not move ({change}): too few steps, a learning_rate that is too low, or "
            "training data that says nothing about the validation data."
        )
    return ""
