"""Which tools a conversation has: MCP servers', the weather's own, the user's hand, or none; and `weather-server`."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from weatherman.task.task import Task
    from weatherman.tools.source import ToolSource
    from weatherman.weather.source import WeatherSource

McpOption = Annotated[
    list[str] | None,
    typer.Option("--mcp", help="Start this MCP server and use its tools, e.g. 'npx some-server' (repeatable)."),
]
ToolTimeoutOption = Annotated[
    float, typer.Option("--tool-timeout", min=0.1, help="Seconds that an MCP server may take for an answer.")
]
LiveOption = Annotated[
    bool, typer.Option("--live", help="Real weather from Open-Meteo; without it the weather is made up, offline.")
]


@dataclass(frozen=True, slots=True)
class ToolOptions:
    """What the command line says about tools: servers to start, the real weather, the user's hand, and patience."""

    mcp: Sequence[str] | None = None
    live: bool = False
    by_hand: bool = False
    timeout_s: float = 30.0


@dataclass(frozen=True, slots=True)
class ChosenTools:
    """The tools of a conversation: what the model is told of, what executes them, and what to say about them."""

    declared: tuple[dict[str, Any], ...]
    source: ToolSource | None
    notes: tuple[str, ...] = ()

    @property
    def label(self) -> str:
        """Where results come from, for people."""
        from weatherman.tools.source import names_of

        if self.source:
            return self.source.label
        return f"no results ({names_of(self.declared)})" if self.declared else "none"


def register(app: typer.Typer) -> None:
    """Add these commands."""
    app.command()(weather_server)


def weather_server(live: LiveOption = False) -> None:
    """Offer the three weather tools to any MCP client, over standard input and output.

    Without --live the weather is made up, and every description and result says so. Needs the extra `mcp`.

    An MCP client starts it, for one `weatherman chat` with --mcp.

    Example: weatherman weather-server
    """
    from weatherman.weather.server import serve

    serve(_weather(live))


@contextmanager
def chosen_tools(task: Task, options: ToolOptions) -> Iterator[ChosenTools]:
    """Choose, and while the context lasts run, what executes the tools.

    MCP servers if any are named; the user's hand if that is asked for; the weather if the task's tools are the
    weather's; else nothing does.

    Raises:
        WeathermanError: the options do not go together, or a server cannot be started.
    """
    from weatherman.errors import WeathermanError
    from weatherman.tools.by_hand import ByHand
    from weatherman.tools.declaration import declare
    from weatherman.tools.source import Joined
    from weatherman.weather.tool_source import WeatherTools, are_weather_tools

    is_weather = are_weather_tools(task.tools)
    if sum((bool(options.mcp), options.live, options.by_hand)) > 1:
        raise WeathermanError(
            "chat.tools", "--mcp, --live and --tools-by-hand exclude each other.", "give one of them."
        )
    if options.live and not is_weather:
        text = "--live is for the weather tools, and this adapter was not trained with them alone."
        raise WeathermanError("chat.tools", text, 'to add them: --mcp "weatherman weather-server --live"')
    with ExitStack() as stack:
        if options.mcp:
            from weatherman.tools.mcp_client import open_servers

            source = Joined(stack.enter_context(open_servers(options.mcp, options.timeout_s)))
            found = declare(task.tools, source.list_tools())
            hidden = tuple(f"Two servers offer a tool of the same name; left out: {one}." for one in source.hidden)
            yield ChosenTools(found.tools, source, (*hidden, *found.differences))
        elif options.by_hand:
            yield ChosenTools(task.tools, ByHand(task.tools, _ask))
        elif is_weather:
            yield ChosenTools(task.tools, WeatherTools(_weather(options.live)))
        else:
            yield ChosenTools(task.tools, None)


def _weather(live: bool) -> WeatherSource:
    from weatherman.weather.live import LiveWeather
    from weatherman.weather.source import MadeUpWeather

    return LiveWeather() if live else MadeUpWeather()


def _ask(question: str) -> str:
    """Read a result from standard input; the question goes to standard error, apart from the answers."""
    from weatherman.messages import escape

    print(escape(question), end="", file=sys.stderr, flush=True)
    line = sys.stdin.readline()
    if not line:
        raise EOFError
    return line
