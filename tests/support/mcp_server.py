"""An MCP server with tools that work, fail, wait, or die; `old` makes it answer as servers of earlier versions do."""

from __future__ import annotations

import os
import sys
from typing import Any

import anyio
import mcp_types as types
from mcp.server import Server
from mcp.server.stdio import stdio_server

NUMBER = {"type": "object", "properties": {"a": {"type": "integer"}, "b": {"type": "integer"}}, "required": ["a", "b"]}
TOOLS = {"add": NUMBER, "fail": {"type": "object"}, "wait": {"type": "object"}, "die": {"type": "object"}, "draw": {"type": "object"}}  # fmt: skip


async def list_tools(_context: Any, params: Any) -> types.ListToolsResult:
    """Two pages, so that a client which reads only the first misses tools."""
    tools = [types.Tool(name=name, description=f"{name}.", input_schema=schema) for name, schema in TOOLS.items()]
    return (
        types.ListToolsResult(tools=tools[2:])
        if params and params.cursor
        else types.ListToolsResult(tools=tools[:2], next_cursor="2")
    )


async def call_tool(_context: Any, params: Any) -> types.CallToolResult:
    """Do what the tool's name says."""
    arguments = params.arguments or {}
    if params.name == "add":
        return text(str(arguments["a"] + arguments["b"]))
    if params.name == "fail":
        return text("it cannot", error=True)
    if params.name == "wait":
        await anyio.sleep(60)
    if params.name == "draw":
        image = types.ImageContent(type="image", data="AAAA", mime_type="image/png")
        return types.CallToolResult(content=[types.TextContent(type="text", text="A cat."), image])
    os._exit(3)


def text(words: str, *, error: bool = False) -> types.CallToolResult:
    """A result of one text."""
    return types.CallToolResult(content=[types.TextContent(type="text", text=words)], is_error=error)


async def main() -> None:
    """Serve."""
    server: Any = Server("oddities", on_list_tools=list_tools, on_call_tool=call_tool)
    async with stdio_server() as (incoming, outgoing):
        await server.run(incoming, outgoing, server.create_initialization_options())


if __name__ == "__main__":
    if "secret" in sys.argv:
        sys.exit(f"the secret is {os.environ.get('HF_TOKEN')}")
    anyio.run(main)
