"""The three weather tools, as OpenAI tool definitions with JSON Schemas; terse, since every row carries them."""

from __future__ import annotations

from typing import Any


def _tool(name: str, description: str, required: list[str], **properties: dict[str, Any]) -> dict[str, Any]:
    parameters = {"type": "object", "properties": properties, "required": required, "additionalProperties": False}
    return {"type": "function", "function": {"name": name, "description": description, "parameters": parameters}}


_DEGREES = {"type": "number"}

WEATHER_TOOLS: tuple[dict[str, Any], ...] = (
    _tool(
        "geocode_location",
        "Find the coordinates of a place.",
        ["city"],
        city={"type": "string"},
        country={"type": "string"},
    ),
    _tool(
        "get_current_weather",
        "The weather now, in metric units.",
        ["latitude", "longitude"],
        latitude=_DEGREES,
        longitude=_DEGREES,
    ),
    _tool(
        "get_forecast",
        "The daily forecast, in metric units.",
        ["latitude", "longitude", "days"],
        latitude=_DEGREES,
        longitude=_DEGREES,
        days={"type": "integer", "minimum": 1, "maximum": 14},
    ),
)
