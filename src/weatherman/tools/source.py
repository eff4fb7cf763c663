"""The protocol of what executes tools, and several sources as one."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from typing import Any, Protocol


class ToolError(Exception):
    """The tool has no answer; `result` is what it returns instead.

    Args:
        error: a word for programs.
        message: what went wrong.
        valid: whether the call itself was right.
    """

    def __init__(self, error: str, message: str, *, valid: bool = True) -> None:
        super().__init__(message)
        self.result = {"error": error, "message": message}
        self.valid = valid


class ToolSource(Protocol):
    """What executes tools."""

    @property
    def name(self) -> str:
        """A word for programs."""

    @property
    def label(self) -> str:
        """What people are told about where the results come from."""

    def list_tools(self) -> tuple[dict[str, Any], ...]:
        """The tools as OpenAI declarations with JSON Schemas."""

    def call(self, name: str, arguments: dict[str, Any]) -> Any:
        """Execute a call whose arguments fit the tool's schema.

        Returns:
            The result: text, or what becomes JSON.

        Raises:
            ToolError: there is none; no other exception leaves a source.
        """


def compact(value: Any) -> str:
    """JSON without spaces."""
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))


def result_text(result: Any) -> str:
    """A result as a conversation holds it: text as it is, anything else as compact JSON."""
    return result if isinstance(result, str) else compact(result)


def tool_name(tool: dict[str, Any]) -> str:
    """The name in a tool's declaration."""
    return str(tool["function"]["name"])


class Joined:
    """Several sources as one; of tools with the same name the first source's counts.

    Args:
        sources: at least one.
    """

    def __init__(self, sources: Sequence[ToolSource]) -> None:
        self.name = "+".join(dict.fromkeys(source.name for source in sources))
        self.label = "; ".join(source.label for source in sources)
        self._sources: dict[str, ToolSource] = {}
        self._tools: list[dict[str, Any]] = []
        self.hidden: list[str] = []
        for source in sources:
            for tool in source.list_tools():
                if tool_name(tool) in self._sources:
                    self.hidden.append(f"{tool_name(tool)} of {source.label}")
                else:
                    self._sources[tool_name(tool)] = source
                    self._tools.append(tool)

    def list_tools(self) -> tuple[dict[str, Any], ...]:
        """The tools of all."""
        return tuple(self._tools)

    def call(self, name: str, arguments: dict[str, Any]) -> Any:
        """Let the tool's own source execute the call.

        Raises:
            ToolError: it has no answer.
        """
        return self._sources[name].call(name, arguments)


def names_of(tools: Iterable[dict[str, Any]]) -> str:
    """The tools' names in a sentence."""
    return ", ".join(map(tool_name, tools)) or "none"
