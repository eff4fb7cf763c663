"""Execute the tool calls of a model's turn: each is checked against its schema first, and no failure is the chat's."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from weatherman.data.schema import read_tools
from weatherman.records import Message, ToolCall
from weatherman.weather.dataset.chat import compact
from weatherman.weather.source import SourceError, WeatherSource
from weatherman.weather.tools import WEATHER_TOOLS


@dataclass(frozen=True, slots=True)
class ToolOutcome:
    """A call and what came of it; `valid` is false where the call itself was wrong and nothing was executed."""

    call: ToolCall
    result: dict[str, Any]
    valid: bool

    def to_message(self) -> Message:
        """The tool's turn, spelled as in the training data."""
        return Message("tool", compact(self.result), (), self.call.id)


def unreadable_call(text: str) -> ToolOutcome:
    """The outcome of a turn that was meant to be a call and is not one."""
    call = ToolCall("unreadable", "(unreadable)", {"text": text})
    message = 'expected {"name": "...", "arguments": {...}} as JSON'
    return ToolOutcome(call, {"error": "unreadable_call", "message": message}, False)


def run_calls(calls: Sequence[ToolCall], source: WeatherSource) -> list[ToolOutcome]:
    """Execute calls in order.

    Args:
        calls: of one turn.
        source: what executes the valid ones.

    Returns:
        An outcome for each; a wrong call and a failing source give a result with an "error".
    """
    return [_run(call, source) for call in calls]


def _run(call: ToolCall, source: WeatherSource) -> ToolOutcome:
    tools = read_tools(list(WEATHER_TOOLS))
    if call.name not in tools.declared:
        message = f"there is no tool {call.name!r}; declared: {', '.join(tools.declared)}"
        return ToolOutcome(call, {"error": "unknown_tool", "message": message}, False)
    problems = [*tools.argument_problems(call.name, call.arguments), *_off_the_globe(call.arguments)]
    if problems:
        return ToolOutcome(call, {"error": "invalid_arguments", "message": "; ".join(problems)}, False)
    try:
        return ToolOutcome(call, getattr(source, call.name)(**call.arguments), True)
    except SourceError as problem:
        return ToolOutcome(call, problem.result, True)
    except (KeyError, TypeError, ValueError, IndexError):  # the service's answer lacks what we read from it
        result = {"error": "bad_response", "message": "the weather service's answer could not be read"}
        return ToolOutcome(call, result, True)


def _off_the_globe(arguments: dict[str, Any]) -> list[str]:
    """Coordinates that no place has; the schema, which every prompt carries, leaves the limits out."""
    limits = {"latitude": 90, "longitude": 180}
    return [
        f"{name}: {value} is not between -{limits[name]} and {limits[name]}"
        for name, value in arguments.items()
        if name in limits and isinstance(value, (int, float)) and not -limits[name] <= value <= limits[name]
    ]
