"""Execute the tool calls of a model's turn: each is checked against its schema first, and no failure is the chat's."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from weatherman.records import Message, ToolCall
from weatherman.tools.checking import check_call
from weatherman.tools.source import ToolError, ToolSource, result_text


@dataclass(frozen=True, slots=True)
class ToolOutcome:
    """A call and what came of it.

    Attributes:
        call: the model's.
        result: text, or what becomes JSON; None where nothing can execute the call.
        valid: false where the call itself was wrong and nothing was executed.
    """

    call: ToolCall
    result: Any
    valid: bool

    @property
    def executed(self) -> bool:
        """Whether there is a result for the model, be it an error."""
        return self.result is not None

    def to_message(self) -> Message:
        """The tool's turn, spelled as in the training data."""
        return Message("tool", result_text(self.result), (), self.call.id)


def unreadable_call(text: str) -> ToolOutcome:
    """The outcome of a turn that was meant to be a call and is not one."""
    call = ToolCall("unreadable", "(unreadable)", {"text": text})
    message = 'expected {"name": "...", "arguments": {...}} as JSON'
    return ToolOutcome(call, {"error": "unreadable_call", "message": message}, False)


def run_calls(
    calls: Sequence[ToolCall], declared: Sequence[dict[str, Any]], source: ToolSource | None
) -> list[ToolOutcome]:
    """Execute calls in order.

    Args:
        calls: of one turn.
        declared: the tools that the model was told of.
        source: what executes the valid ones; None leaves them without a result.

    Returns:
        An outcome for each; a wrong call and a failing source give a result with an "error".
    """
    return [_run(call, declared, source) for call in calls]


def _run(call: ToolCall, declared: Sequence[dict[str, Any]], source: ToolSource | None) -> ToolOutcome:
    try:
        check_call(call.name, call.arguments, declared)
        return ToolOutcome(call, source.call(call.name, call.arguments) if source else None, True)
    except ToolError as problem:
        return ToolOutcome(call, problem.result, problem.valid)
