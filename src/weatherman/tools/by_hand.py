"""Tools that the user plays: each call is shown, and what is typed is its result."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from weatherman.tools.source import ToolError


class ByHand:
    """Asks a person.

    Args:
        tools: the tools that are played.
        ask: shows a question and reads a line; raises EOFError when there is no more.
    """

    name, label = "by-hand", "results typed by hand"

    def __init__(self, tools: Sequence[dict[str, Any]], ask: Callable[[str], str]) -> None:
        self._tools, self._ask = tuple(tools), ask

    def list_tools(self) -> tuple[dict[str, Any], ...]:
        """The tools that are played."""
        return self._tools

    def call(self, name: str, arguments: dict[str, Any]) -> Any:
        """Ask for the result of a call.

        Raises:
            ToolError: nothing was typed.
        """
        shown = ", ".join(f"{key}={value!r}" for key, value in arguments.items())
        try:
            typed = self._ask(f"{name}({shown}) = ").strip()
        except EOFError:
            typed = ""
        if not typed:
            raise ToolError("no_result", "no result was given")
        return typed
