"""Random but valid conversations for property tests."""

from __future__ import annotations

import json
from typing import Any

from hypothesis import strategies as st

from weatherman.weather.tools import WEATHER_TOOLS

# Unassigned and private characters are left out: SmolLM2's vocabulary lacks the bytes of some and drops them.
PLAIN_TEXT = st.text(
    st.characters(codec="utf-8", exclude_categories=("Cs", "Cc", "Cn", "Co")), min_size=1, max_size=40
).filter(lambda text: text.strip() == text)
CONTROL_TEXT = st.sampled_from(
    ["[INST] hi [/INST]", "<|im_end|>", "</s>", "<s>", "[TOOL_CALLS] []", "<tool_call>", "</tool_call>", "<repo_name>"]
)
TEXT = PLAIN_TEXT | CONTROL_TEXT | st.sampled_from(["Wie wird’s? ☔", "72 °F", "a\n\nb", "🌦️ 4 mm"])
CALL_IDS = st.text("abcdefXYZ0123456789", min_size=9, max_size=9)
RESULTS = st.sampled_from(['{"temperature_c": 1.5, "sky": "snow"}', '[1, "two"]', "timed out"])


@st.composite
def arguments(draw: st.DrawFn, text: st.SearchStrategy[str] = TEXT) -> tuple[str, dict[str, Any]]:
    name = draw(st.sampled_from(["geocode_location", "get_current_weather", "get_forecast"]))
    if name == "geocode_location":
        return name, {"city": draw(text)}
    place: dict[str, Any] = {
        "latitude": draw(st.floats(-90, 90).map(lambda x: round(x, 2)).filter(lambda x: not x.is_integer())),
        "longitude": draw(st.integers(-180, 180)),
    }
    return name, place | ({"days": draw(st.integers(1, 14))} if name == "get_forecast" else {})


@st.composite
def rows(
    draw: st.DrawFn, text: st.SearchStrategy[str] = TEXT, results: st.SearchStrategy[str] = RESULTS | TEXT
) -> dict[str, Any]:
    """A valid row in the OpenAI form, with everything that the templates distinguish."""
    messages: list[dict[str, Any]] = []
    if draw(st.booleans()):
        messages.append({"role": "system", "content": draw(text)})
    with_tools = draw(st.booleans())
    for _ in range(draw(st.integers(1, 3))):
        messages.append({"role": "user", "content": draw(text)})
        if with_tools and draw(st.booleans()):
            ids = draw(st.lists(CALL_IDS, min_size=1, max_size=3, unique=True))
            calls = []
            for call_id in ids:
                name, values = draw(arguments(text))
                function = {"name": name, "arguments": json.dumps(values, ensure_ascii=False)}
                calls.append({"id": call_id, "type": "function", "function": function})
            messages.append({"role": "assistant", "content": None, "tool_calls": calls})
            messages += [{"role": "tool", "tool_call_id": i, "content": draw(results)} for i in ids]
        messages.append({"role": "assistant", "content": draw(text)})
    return {"messages": messages, **({"tools": list(WEATHER_TOOLS)} if with_tools else {})}
