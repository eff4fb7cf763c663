"""Check a call against the declared tools before anything executes it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from weatherman.data.schema import read_tools
from weatherman.tools.source import ToolError


def check_call(name: str, arguments: dict[str, Any], declared: Sequence[dict[str, Any]]) -> None:
    """Refuse a call of an unknown tool or with arguments that do not fit its schema.

    Raises:
        ToolError: what is wrong, for the model.
    """
    tools = read_tools(list(declared))
    if name not in tools.declared:
        known = ", ".join(tools.declared) or "none"
        raise ToolError("unknown_tool", f"there is no tool {name!r}; declared: {known}", valid=False)
    if problems := list(tools.argument_problems(name, arguments)):
        raise ToolError("invalid_arguments", "; ".join(problems), valid=False)
