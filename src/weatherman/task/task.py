"""A task and its file: which tools, system prompts and questions an adapter was trained with."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from weatherman.errors import WeathermanError
from weatherman.records import Message
from weatherman.system.atomic import read_json_object

TASK_FILE = "task.json"
FORMAT_VERSION = 1
MAX_FILE_BYTES = 2**24
UNNAMED = "no persona"


@dataclass(frozen=True, slots=True)
class SystemPrompt:
    """A system prompt, None for conversations without one, and in how many conversations it stands."""

    text: str | None
    num_conversations: int


@dataclass(frozen=True, slots=True)
class Persona:
    """Who speaks: the data's `metadata.persona`, empty where it names none, and its prompts by frequency."""

    name: str
    num_conversations: int
    system_prompts: tuple[SystemPrompt, ...]

    @property
    def prompt(self) -> str | None:
        """The system prompt that is used where one is needed; None if most conversations have none."""
        return self.system_prompts[0].text if self.system_prompts else None

    @property
    def opening(self) -> tuple[Message, ...]:
        """How a conversation with it begins: its system prompt, if it has one."""
        return (Message("system", self.prompt),) if self.prompt is not None else ()


@dataclass(frozen=True, slots=True)
class ToolSet:
    """Tools that conversations declare together, as the data spells them, and in how many conversations."""

    tools: tuple[dict[str, Any], ...]
    num_conversations: int


@dataclass(frozen=True, slots=True)
class Task:
    """What an adapter was taught.

    Attributes:
        personas: whom it speaks as; the first is the default.
        tool_sets: the distinct lists of tools, the most frequent first.
        questions: a few that the data's users ask.
        num_conversations: that it was collected from; those that no listed prompt or tool set stands for are the rest.
    """

    personas: tuple[Persona, ...] = ()
    tool_sets: tuple[ToolSet, ...] = ()
    questions: tuple[str, ...] = ()
    num_conversations: int = 0

    @property
    def tools(self) -> tuple[dict[str, Any], ...]:
        """The most frequent tools that are declared together; none if no conversation declares any."""
        return next((one.tools for one in self.tool_sets if one.tools), ())

    @property
    def persona_names(self) -> tuple[str, ...]:
        """The personas that have a name."""
        return tuple(one.name for one in self.personas if one.name)

    def persona(self, name: str) -> Persona:
        """The persona of a name; the empty name takes the first.

        Raises:
            WeathermanError: the task has no such persona.
        """
        if not name:
            return self.personas[0] if self.personas else Persona("", 0, ())
        found = next((one for one in self.personas if one.name == name), None)
        if found:
            return found
        hint = f"choose one of {', '.join(self.persona_names)}." if self.persona_names else "leave it out."
        what = "" if self.persona_names else " (it was trained without personas)"
        raise WeathermanError("chat.persona", f"this adapter has no persona {name!r}{what}.", hint)


def task_bytes(task: Task) -> bytes:
    """The content of `task.json`; the order of keys in tools is kept, since a prompt spells them in that order."""
    listed = sum(one.num_conversations for one in task.tool_sets)
    prompts = sum(prompt.num_conversations for one in task.personas for prompt in one.system_prompts)
    record = {
        "format_version": FORMAT_VERSION,
        "num_conversations": task.num_conversations,
        "personas": [
            {
                "name": one.name or None,
                "num_conversations": one.num_conversations,
                "system_prompts": [
                    {"text": prompt.text, "num_conversations": prompt.num_conversations}
                    for prompt in one.system_prompts
                ],
            }
            for one in task.personas
        ],
        "tool_sets": [{"num_conversations": one.num_conversations, "tools": list(one.tools)} for one in task.tool_sets],
        "questions": list(task.questions),
        "num_conversations_not_listed": {
            "system_prompts": task.num_conversations - prompts,
            "tool_sets": task.num_conversations - listed,
        },
    }
    return (json.dumps(record, indent=1, allow_nan=False) + "\n").encode("ascii")


def read_task(path: Path) -> Task:
    """Read a `task.json`.

    Raises:
        FileNotFoundError: there is none.
        WeathermanError: it cannot be read, or is none.
    """
    hint = "copy it again from the run's folder, or move it away to do without it."
    try:
        raw = read_json_object(path, MAX_FILE_BYTES)
        version = raw.get("format_version")
        if version != FORMAT_VERSION:
            text = f"{path} has the format {version!r}; this version reads {FORMAT_VERSION}."
            raise WeathermanError("task.unreadable", text, "use the weatherman version that wrote it.")
        return Task(
            tuple(_persona(one) for one in raw["personas"]),
            tuple(ToolSet(_tools(one["tools"]), int(one["num_conversations"])) for one in raw["tool_sets"]),
            tuple(_text(one) for one in raw["questions"]),
            int(raw["num_conversations"]),
        )
    except FileNotFoundError:
        raise
    except (OSError, ValueError) as problem:
        raise WeathermanError("task.unreadable", f"{path} cannot be read: {problem}.", hint) from problem
    except (KeyError, TypeError, AttributeError) as problem:
        text = f"{path} is not a task file: {type(problem).__name__} at {problem}."
        raise WeathermanError("task.unreadable", text, hint) from problem


def _persona(raw: dict[str, Any]) -> Persona:
    prompts = tuple(
        SystemPrompt(None if one["text"] is None else _text(one["text"]), int(one["num_conversations"]))
        for one in raw["system_prompts"]
    )
    return Persona("" if raw["name"] is None else _text(raw["name"]), int(raw["num_conversations"]), prompts)


def _tools(raw: list[Any]) -> tuple[dict[str, Any], ...]:
    for tool in raw:
        _text(tool["function"]["name"])
    return tuple(raw)


def _text(raw: object) -> str:
    if not isinstance(raw, str):
        raise TypeError(f"{raw!r}, which is not text")
    return raw
