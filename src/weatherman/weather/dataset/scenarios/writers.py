"""The scenarios: each writes one conversation into a scene and returns its split group."""

from __future__ import annotations

from collections.abc import Callable

from weatherman.weather.dataset.scenarios.ahead import forecast, out_of_range
from weatherman.weather.dataset.scenarios.dialogue import ambiguous, correction, follow_up
from weatherman.weather.dataset.scenarios.present import chain, current, units, unsafe
from weatherman.weather.dataset.scenarios.several import compare, parallel
from weatherman.weather.dataset.scenarios.trouble import tool_failure
from weatherman.weather.dataset.scenarios.words import no_tool, off_topic
from weatherman.weather.dataset.scene import Scene

WRITERS: dict[str, Callable[[Scene], str]] = {
    "current": current,
    "forecast": forecast,
    "compare": compare,
    "chain": chain,
    "follow_up": follow_up,
    "no_tool": no_tool,
    "parallel": parallel,
    "ambiguous": ambiguous,
    "tool_failure": tool_failure,
    "units": units,
    "unsafe": unsafe,
    "correction": correction,
    "out_of_range": out_of_range,
    "off_topic": off_topic,
}
