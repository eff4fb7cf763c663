"""The three weather tools, as OpenAI tool definitions with JSON Schemas; terse, since every row carries them."""

from __future__ import annotations

from typing import Any


def _tool(name: str, description: str, required: list[str], **properties: dict[str, Any]) -> dict[str, Any]:
    parameters = {"type": "object", "properties": properties, "required": required, "additionalProperties": False}
    return {"type": "function", "function": {"name": name, "description": description, "parameters": parameters}}


_LATITUDE = {"type": "number", "minimum": -90, "maximum": 90}
_LONGITUDE = {"type": "number", "minimum": -180, "maximum": 180}

WEATHER_TOOLS: tuple[dict[str, Any], ...] = (
    _tool(
        "geocode_location",
        "Find the coordinates of a place.",
        ["city"],
        city={"type": "string"},
        country={"type": "string", "description": "Narrows the search."},
    ),
    _tool(
        "get_current_weather",
        "The weather now, in metric units.",
        ["latitude", "longitude"],
        latitude=_LATITUDE,
        longitude=_LONGITUDE,
    ),
    _tool(
        "get_forecast",
        "The daily forecast, in metric units.",
        ["latitude", "longitude", "days"],
        latitude=_LATITUDE,
        longitude=_LONGITUDE,
        days={"type": "integer", "minimum": 1, "maximum": 14},
    ),
)
