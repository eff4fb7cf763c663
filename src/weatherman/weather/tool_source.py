"""The three weather tools as a tool source, over the made-up weather or the real one."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from weatherman.tools.source import ToolError, tool_name
from weatherman.weather.source import WeatherSource
from weatherman.weather.tools import WEATHER_TOOLS

_LIMITS = {"latitude": 90, "longitude": 180}


class WeatherTools:
    """Executes the weather tools.

    Args:
        source: where the weather comes from.
    """

    def __init__(self, source: WeatherSource) -> None:
        self.name, self.label = source.name, source.label
        self._source = source

    def list_tools(self) -> tuple[dict[str, Any], ...]:
        """The three weather tools, as they are trained."""
        return WEATHER_TOOLS

    def call(self, name: str, arguments: dict[str, Any]) -> Any:
        """Execute a call whose arguments fit the schema.

        Raises:
            ToolError: there is no such place on the globe, or the source has no answer.
        """
        if off := _off_the_globe(arguments):
            raise ToolError("invalid_arguments", "; ".join(off), valid=False)
        try:
            return getattr(self._source, name)(**arguments)
        except (KeyError, TypeError, ValueError, IndexError) as problem:  # the answer lacks what we read from it
            text = "the weather service's answer could not be read"
            raise ToolError("bad_response", text) from problem


def are_weather_tools(tools: Iterable[dict[str, Any]]) -> bool:
    """Whether all of these tools (at least one) are among the weather's, by name."""
    names = {tool_name(tool) for tool in tools}
    return bool(names) and names <= {tool_name(tool) for tool in WEATHER_TOOLS}


def _off_the_globe(arguments: dict[str, Any]) -> list[str]:
    """Coordinates that no place has; the schema, which every prompt carries, leaves the limits out."""
    return [
        f"{name}: {value} is not between -{_LIMITS[name]} and {_LIMITS[name]}"
        for name, value in arguments.items()
        if name in _LIMITS and isinstance(value, (int, float)) and not -_LIMITS[name] <= value <= _LIMITS[name]
    ]
