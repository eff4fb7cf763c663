"""The records that flow through the rooms, from a line of JSON to the result of a step."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

Role = Literal["system", "user", "assistant", "tool"]


@dataclass(frozen=True, slots=True)
class ToolCall:
    """One call of a tool; `arguments` is the decoded JSON object."""

    id: str
    name: str
    arguments: dict[str, Any]


@dataclass(frozen=True, slots=True)
class Message:
    """One turn.

    Attributes:
        role: who speaks.
        content: the text; None only for an assistant that calls tools.
        tool_calls: an assistant's calls, in order.
        tool_call_id: of a tool's result alone: the call that it answers.
        reasoning: what an assistant thought before it spoke, where the file keeps that apart; None if it does not.
        trained: of an assistant alone: whether this turn is supervised.
    """

    role: Role
    content: str | None
    tool_calls: tuple[ToolCall, ...] = ()
    tool_call_id: str | None = None
    reasoning: str | None = None
    trained: bool = True


@dataclass(frozen=True, slots=True)
class Conversation:
    """A validated conversation; `source` names its file and line, for messages."""

    messages: tuple[Message, ...]
    tools: tuple[dict[str, Any], ...] = ()
    metadata: dict[str, Any] = field(default_factory=dict)
    source: str = ""


@dataclass(frozen=True, slots=True)
class Rendered:
    """Token ids of one training example and its loss mask.

    `ids` is int32 [T]; `mask` is bool [T], true where the token is a supervised *target*. `mask[0]` is always false:
    the first token has no context to be predicted from.
    """

    ids: NDArray[np.int32]
    mask: NDArray[np.bool_]
    source: str = ""

    @property
    def num_supervised_tokens(self) -> int:
        """How many tokens count in the loss."""
        return int(self.mask.sum())


def count_conversations(examples: Iterable[Rendered]) -> int:
    """How many conversations these examples come from: each names its file and line."""
    return len({example.source for example in examples})


def describe_examples(num_conversations: int, num_examples: int) -> str:
    """Say how many conversations there are, and how many examples they make; and why, where that is more."""
    conversations = f"{num_conversations:,} conversation{'s' if num_conversations != 1 else ''}"
    if num_examples == num_conversations:
        return f"{conversations}, each an example"
    return (
        f"{conversations}, {num_examples:,} examples (one for each context in which the chat template lets the "
        "assistant speak)"
    )


@dataclass(frozen=True, slots=True)
class StepPlan:
    """Which examples make optimizer step `step` (1-based) of epoch `epoch` (0-based)."""

    step: int
    epoch: int
    example_ids: tuple[int, ...]
    examples: tuple[Rendered, ...]

    @property
    def num_supervised_tokens(self) -> int:
        """The divisor of the step's loss."""
        return sum(example.num_supervised_tokens for example in self.examples)

    @property
    def num_effective_tokens(self) -> int:
        """Tokens the user trains on: the sum of the examples' lengths, without padding or sharing."""
        return sum(len(example.ids) for example in self.examples)


@dataclass(frozen=True, slots=True)
class StepResult:
    """What one optimizer step did. `loss` is the mean over supervised tokens, `grad_norm` is before clipping."""

    loss: float
    grad_norm: float
    num_supervised_tokens: int
    num_effective_tokens: int
    num_computed_tokens: int
