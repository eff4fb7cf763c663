"""Tasks without training: the weather's, with its four personas."""

from __future__ import annotations

from weatherman.task.task import Persona, SystemPrompt, Task, ToolSet
from weatherman.weather.dataset.personas import wordings
from weatherman.weather.dataset.voices import PERSONAS
from weatherman.weather.tools import WEATHER_TOOLS


def weather_task(*personas: str) -> Task:
    """What the shipped data teaches, of these personas; all when none is named."""
    people = tuple(
        Persona(name, 3, tuple(SystemPrompt(text, 1) for text in wordings(name))) for name in personas or PERSONAS
    )
    num_conversations = 3 * len(people)
    return Task(people, (ToolSet(WEATHER_TOOLS, num_conversations),), ("Fog?", "Rain?"), num_conversations)
