"""Tools of MCP servers, the ecosystem's convention: started as child processes, asked over their standard streams.

The `mcp` package is asynchronous; its loop runs in a thread of its own. Whatever goes wrong with a server after its
start is a tool's error, which the model is told.
"""

from __future__ import annotations

import logging
import os
import shlex
import tempfile
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import ExitStack, asynccontextmanager, contextmanager, suppress
from typing import IO, Any

from weatherman import __version__
from weatherman.errors import WeathermanError
from weatherman.tools.source import ToolError

_START_S = 60.0  # some servers are downloaded by the command that starts them
_MAX_PAGES = 100
_SHOWN_CHARS = 300


def mcp_missing() -> WeathermanError:
    """What is said where the optional package is not there."""
    return WeathermanError("mcp.missing", "the package mcp is not installed.", "pip install 'weatherman-lora[mcp]'")


class McpServer:
    """One server's tools.

    Args:
        command: how it was started.
        tools: what it lists.
        call: executes a call on the server; raises whatever the `mcp` package does.
    """

    name = "mcp"

    def __init__(
        self, command: str, tools: tuple[dict[str, Any], ...], call: Callable[[str, dict[str, Any]], Any]
    ) -> None:
        self.label = f"MCP server {command}"
        self._tools, self._call = tools, call

    def list_tools(self) -> tuple[dict[str, Any], ...]:
        """The server's tools, in the form of OpenAI."""
        return self._tools

    def call(self, name: str, arguments: dict[str, Any]) -> Any:
        """Let the server execute a call; what it reports as its tool's error is a result like any other.

        Raises:
            ToolError: it gave no answer in time, is gone, or refused the call.
        """
        from mcp.shared.exceptions import MCPError
        from mcp_types import CONNECTION_CLOSED, REQUEST_TIMEOUT

        try:
            return _content(self._call(name, arguments))
        except MCPError as problem:
            if problem.code == REQUEST_TIMEOUT:
                raise ToolError("timeout", "the tool's server did not answer in time") from problem
            if problem.code == CONNECTION_CLOSED:
                raise ToolError("server_gone", "the tool's server has ended") from problem
            raise ToolError("tool_error", _line(problem)) from problem
        except Exception as problem:  # an answer that breaks the protocol, a stream that broke: all the server's
            raise ToolError("server_failed", f"the tool's server failed: {_line(problem)}") from problem


@contextmanager
def open_servers(commands: Sequence[str], timeout_s: float) -> Iterator[list[McpServer]]:
    """Start MCP servers; they are stopped when the context ends.

    A server gets a small part of the environment (PATH, HOME and the like), so that no secret reaches it by accident;
    `env NAME=VALUE COMMAND` gives it more.

    Args:
        commands: a command line each, without a shell.
        timeout_s: how long a server that has started may take for an answer.

    Raises:
        WeathermanError: the package `mcp` is missing, or a server does not start or lists no tools.
    """
    try:
        import mcp
        from anyio.from_thread import start_blocking_portal
    except ImportError as problem:
        raise mcp_missing() from problem
    del mcp
    logging.getLogger("mcp").addHandler(logging.NullHandler())  # it logs tracebacks of what is told here in a line
    with ExitStack() as stack:
        portal = stack.enter_context(start_blocking_portal())
        servers = []
        for command in commands:
            said = stack.enter_context(tempfile.TemporaryFile("w+", encoding="utf-8", errors="replace"))
            try:
                opening = portal.wrap_async_context_manager(_connection(command, said, timeout_s))
                call, tools = stack.enter_context(_ending_quietly(opening))
            except WeathermanError:
                raise
            except Exception as problem:
                raise _not_started(command, said, problem) from problem
            servers.append(McpServer(command, tools, _through(portal, call)))
        yield servers


@contextmanager
def _ending_quietly(context: Any) -> Iterator[Any]:
    """A context whose end may fail: the server may be gone already, and its work here is done."""
    value = context.__enter__()
    try:
        yield value
    finally:
        with suppress(Exception):
            context.__exit__(None, None, None)


def _through(portal: Any, call: Any) -> Callable[[str, dict[str, Any]], Any]:
    return lambda name, arguments: portal.call(call, name, arguments)


@asynccontextmanager
async def _connection(command: str, said: IO[str], timeout_s: float) -> AsyncIterator[tuple[Any, Any]]:
    """A running server: what calls its tools, and its tools."""
    from mcp import Client, StdioServerParameters
    from mcp.client.stdio import stdio_client
    from mcp_types import Implementation

    words = _words(command)
    transport = stdio_client(StdioServerParameters(command=words[0], args=words[1:]), errlog=said)  # type: ignore[arg-type]
    us = Implementation(name="weatherman-lora", version=__version__)
    async with Client(transport, read_timeout_seconds=_START_S, client_info=us) as client:

        async def call(name: str, arguments: dict[str, Any]) -> Any:
            return await client.call_tool(name, arguments, read_timeout_seconds=timeout_s)

        tools, cursor = [], None
        for _ in range(_MAX_PAGES):
            page = await client.list_tools(cursor=cursor)
            tools += [_declaration(tool) for tool in page.tools]
            cursor = page.next_cursor
            if cursor is None:
                break
        if not tools:
            raise WeathermanError("mcp.no-tools", f"the MCP server {command} offers no tools.")
        yield call, tuple(tools)


def _words(command: str) -> list[str]:
    try:
        words = shlex.split(command)
    except ValueError as problem:
        raise WeathermanError("mcp.command", f"--mcp {command}: {problem}.", "quote it as in a shell.") from problem
    if not words:
        raise WeathermanError("mcp.command", "--mcp: the command is empty.", "name the server's command.")
    return words


def _declaration(tool: Any) -> dict[str, Any]:
    """A tool of MCP in the form of OpenAI."""
    description = {"description": tool.description} if tool.description else {}
    return {"type": "function", "function": {"name": tool.name, **description, "parameters": tool.input_schema}}


def _content(result: Any) -> str:
    """A result as text for the model: what is meant for the user's eyes alone is left out, other media are named."""
    parts = []
    for block in result.content:
        audience = getattr(getattr(block, "annotations", None), "audience", None)
        if audience and "assistant" not in audience:
            continue
        if block.type == "text":
            parts.append(block.text)
        else:
            kind = getattr(block, "mime_type", None) or block.type
            parts.append(f"[{kind}: not text, left out]")
    return "\n".join(parts)


def _not_started(command: str, said: IO[str], problem: Exception) -> WeathermanError:
    with suppress(OSError, ValueError):
        said.seek(0, os.SEEK_SET)
    lines = said.read(2**16).split("\n")
    last = next((line for line in reversed(lines) if line.strip()), "")
    told = f"; it said: {last.strip()[:_SHOWN_CHARS]}" if last else ""
    hint = "run the command by itself: an MCP server waits for input in silence."
    return WeathermanError("mcp.start", f"the MCP server {command} does not start: {_line(problem)}{told}", hint)


def _line(problem: BaseException) -> str:
    """A failure in a line; of a group the first."""
    while inner := getattr(problem, "exceptions", None):
        problem = inner[0]
    text = str(problem).strip() or type(problem).__name__
    return text.splitlines()[0][:_SHOWN_CHARS].rstrip(".")
