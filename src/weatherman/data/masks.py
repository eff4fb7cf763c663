"""Which turns are trained on: the marks that files give their messages, and the configuration's choice."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, Literal

from weatherman.records import Message

TrainOn = Literal["all", "last", "marked"]
MARKS = ("weight", "train", "training", "loss")


def read_mark(raw: dict[str, Any]) -> bool | None:
    """Whether a message is marked to be trained on; None where it has no mark.

    Args:
        raw: the decoded message.

    Raises:
        ValueError: a mark that is neither 0 nor 1, or marks that contradict each other; made for the user.
    """
    found: dict[str, bool] = {}
    for key in MARKS:
        value = raw.get(key)
        if value is None:
            continue
        if isinstance(value, (bool, int, float)) and value in (0, 1):
            found[key] = bool(value)
        else:
            raise ValueError(f"{key} is neither 0 nor 1, and a turn is trained on or it is not")
    if len(set(found.values())) > 1:
        raise ValueError(f"{' and '.join(found)} contradict each other")
    return next(iter(found.values()), None)


def with_masks(messages: Sequence[Message], marks: Sequence[bool | None], train_on: TrainOn) -> list[Message]:
    """Say of each assistant's turn whether it is trained on.

    Args:
        messages: the conversation.
        marks: each message's own mark.
        train_on: "all" trains every turn that is not marked otherwise, "last" of these only the last turn, "marked"
            only turns that are marked to be.
    """
    last = max((index for index, message in enumerate(messages) if message.role == "assistant"), default=-1)
    found = []
    for index, (message, mark) in enumerate(zip(messages, marks, strict=True)):
        chosen = {"all": mark is not False, "last": index == last and mark is not False, "marked": mark is True}
        trained = message.role == "assistant" and chosen[train_on]
        found.append(replace(message, trained=trained) if message.role == "assistant" else message)
    return found
