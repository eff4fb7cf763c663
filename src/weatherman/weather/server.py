"""The three weather tools as an MCP server over standard input and output, for any client of that protocol."""

from __future__ import annotations

from typing import Any

from weatherman import __version__
from weatherman.tools.checking import check_call
from weatherman.tools.mcp_client import mcp_missing
from weatherman.tools.source import ToolError, compact
from weatherman.weather.source import WeatherSource
from weatherman.weather.tool_source import WeatherTools
from weatherman.weather.tools import WEATHER_TOOLS


def serve(source: WeatherSource) -> None:
    """Serve until the client closes the stream; where the weather comes from stands in descriptions and results.

    Args:
        source: where the weather comes from.

    Raises:
        WeathermanError: the package `mcp` is missing.
    """
    try:
        import anyio
        from mcp.server.stdio import stdio_server
    except ImportError as problem:
        raise mcp_missing() from problem

    async def run() -> None:
        server = make_server(source)
        async with stdio_server() as (incoming, outgoing):
            await server.run(incoming, outgoing, server.create_initialization_options())

    anyio.run(run)


def make_server(source: WeatherSource) -> Any:
    """Make the server, not yet connected: an `mcp.server.Server`."""
    import anyio
    import mcp_types as types
    from mcp.server import Server

    tools = WeatherTools(source)
    listed = [
        types.Tool(
            name=tool["function"]["name"],
            description=f"{tool['function']['description']} Source: {source.label}.",
            input_schema=tool["function"]["parameters"],
        )
        for tool in WEATHER_TOOLS
    ]

    async def list_tools(_context: Any, _params: Any) -> Any:
        return types.ListToolsResult(tools=listed)

    async def call_tool(_context: Any, params: Any) -> Any:
        found, good = await anyio.to_thread.run_sync(answer, tools, params.name, params.arguments or {})
        # The label is for the user's eyes: the model was trained on results without it.
        label = types.TextContent(
            type="text", text=f"Source: {source.label}.", annotations=types.Annotations(audience=["user"])
        )
        return types.CallToolResult(content=[types.TextContent(type="text", text=found), label], is_error=not good)

    return Server("weatherman-weather", version=__version__, on_list_tools=list_tools, on_call_tool=call_tool)


def answer(tools: WeatherTools, name: str, arguments: dict[str, Any]) -> tuple[str, bool]:
    """Execute one call as a client sent it.

    Args:
        tools: what executes it.
        name: the tool's.
        arguments: not checked yet.

    Returns:
        The result as JSON, and whether it is one; an error is JSON too.
    """
    try:
        check_call(name, arguments, WEATHER_TOOLS)
        return compact(tools.call(name, arguments)), True
    except ToolError as problem:
        return compact(problem.result), False
