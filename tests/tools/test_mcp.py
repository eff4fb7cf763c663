"""MCP over real processes: our client with an odd server, the official client with our weather server, both together."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import anyio
import pytest
from mcp import Client, StdioServerParameters

from tasks_for_tests import weather_task
from weatherman.commands.tools import ToolOptions, chosen_tools
from weatherman.errors import WeathermanError
from weatherman.task.task import Task
from weatherman.tools.declaration import declare
from weatherman.tools.mcp_client import McpServer, open_servers
from weatherman.tools.source import Joined, ToolError
from weatherman.weather.source import MadeUpWeather
from weatherman.weather.tools import WEATHER_TOOLS

ODD = f"{sys.executable} {Path(__file__).parents[1] / 'support' / 'mcp_server.py'}"
WEATHER = f"{sys.executable} -m weatherman.cli weather-server"


@pytest.fixture(scope="module")
def odd() -> Iterator[McpServer]:
    with open_servers([ODD], 30) as (server,):
        yield server


def test_any_servers_tools_are_listed_and_executed(odd: McpServer) -> None:
    assert [tool["function"]["name"] for tool in odd.list_tools()] == ["add", "fail", "wait", "die", "draw"]
    assert odd.list_tools()[0]["function"]["description"] == "add."
    assert odd.list_tools()[0]["function"]["parameters"]["required"] == ["a", "b"]
    assert odd.call("add", {"a": 2, "b": 3}) == "5"
    assert odd.call("fail", {}) == "it cannot"
    assert odd.call("draw", {}) == "A cat.\n[image/png: not text, left out]"


def test_a_slow_tool_and_a_dying_server_are_results(capfd: pytest.CaptureFixture[str]) -> None:
    with open_servers([ODD], 0.2) as (server,), pytest.raises(ToolError) as caught:
        server.call("wait", {})
    assert caught.value.result == {"error": "timeout", "message": "the tool's server did not answer in time"}
    with open_servers([ODD], 60) as (server,):
        for _ in range(2):
            with pytest.raises(ToolError) as caught:
                server.call("die", {})
            assert caught.value.result == {"error": "server_gone", "message": "the tool's server has ended"}
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize(
    ("command", "code", "words"),
    [
        ("no-such-server", "mcp.start", "No such file"),
        (f"{sys.executable} -c print(1,2)", "mcp.start", "Connection closed"),
        (f"{ODD} secret", "mcp.start", "it said: the secret is None"),
        ("", "mcp.command", "the command is empty"),
        ("server 'half", "mcp.command", "No closing quotation"),
    ],
)
def test_a_server_that_does_not_start_is_one_line(
    command: str, code: str, words: str, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("HF_TOKEN", "hf_not_for_servers")
    with pytest.raises(WeathermanError, match=words) as caught, open_servers([command], 5):
        pass
    assert caught.value.code == code
    assert "hf_not" not in str(caught.value)
    assert capfd.readouterr() == ("", "")


def test_without_the_package_the_command_that_installs_it_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "mcp", None)
    with pytest.raises(WeathermanError, match="mcp is not installed") as caught, open_servers([ODD], 5):
        pass
    assert caught.value.hint == "pip install 'weatherman-lora[mcp]'"


def test_the_official_client_is_told_that_the_weather_is_made_up() -> None:
    async def ask() -> tuple[Any, list[Any]]:
        words = WEATHER.split()
        async with Client(StdioServerParameters(command=words[0], args=words[1:])) as client:
            listed = (await client.list_tools()).tools
            asked = [
                ("geocode_location", {"city": "Oslo"}),
                ("geocode_location", {"town": "Oslo"}),
                ("get_forecast", {"latitude": 99, "longitude": 0, "days": 2}),
                ("rm", {}),
            ]
            return listed, [await client.call_tool(name, arguments) for name, arguments in asked]

    listed, results = anyio.run(ask)
    assert [tool.name for tool in listed] == [tool["function"]["name"] for tool in WEATHER_TOOLS]
    assert [tool.input_schema for tool in listed] == [tool["function"]["parameters"] for tool in WEATHER_TOOLS]
    assert all("not the real weather" in tool.description for tool in listed)
    assert [result.is_error for result in results] == [False, True, True, True]
    assert json.loads(results[0].content[0].text) == MadeUpWeather().geocode_location("Oslo")
    assert all("not the real weather" in result.content[1].text for result in results)
    errors = [json.loads(result.content[0].text)["error"] for result in results[1:]]
    assert errors == ["invalid_arguments", "invalid_arguments", "unknown_tool"]


def test_our_own_client_reads_the_trained_form_from_it() -> None:
    """The label is for people: the model sees the result as in training, and the trained words of the tools."""
    with chosen_tools(weather_task(), ToolOptions(mcp=[WEATHER, ODD])) as chosen:
        assert chosen.declared[:3] == WEATHER_TOOLS
        assert [tool["function"]["name"] for tool in chosen.declared[3:]] == ["add", "fail", "wait", "die", "draw"]
        assert chosen.source is not None
        text = chosen.source.call("geocode_location", {"city": "Oslo"})
        assert json.loads(text) == MadeUpWeather().geocode_location("Oslo")
        assert chosen.source.call("add", {"a": 2, "b": 2}) == "4"
    assert [note.split(" is described")[0] for note in chosen.notes[:3]] == [
        "geocode_location", "get_current_weather", "get_forecast",
    ]  # fmt: skip
    assert chosen.notes[3] == "Offered, but not trained: add, fail, wait, die, draw."


def test_of_two_servers_with_the_same_tool_the_first_counts_and_it_is_said(odd: McpServer) -> None:
    class Other:
        name, label = "other", "another"

        def list_tools(self) -> tuple[dict[str, Any], ...]:
            return odd.list_tools()[:1]

        def call(self, name: str, arguments: dict[str, Any]) -> Any:
            return "other"

    joined = Joined([Other(), odd])
    assert joined.call("add", {"a": 1, "b": 1}) == "other"
    assert (joined.name, joined.hidden) == ("other+mcp", [f"add of MCP server {ODD}"])


def declaration(name: str, required: list[str], **properties: Any) -> dict[str, Any]:
    parameters = {"type": "object", "properties": properties, "required": required}
    return {"type": "function", "function": {"name": name, "description": "Mine.", "parameters": parameters}}


TRAINED = declaration("find", ["city"], city={"type": "string"}, country={"type": "string"})


@pytest.mark.parametrize(
    ("offered", "difference"),
    [
        (declaration("find", ["city"], country={"type": "string", "description": "x"}, city={"title": "C", "type": "string"}),
         ""),
        (declaration("find", ["city"], city={"type": "string"}), "no country"),
        (declaration("find", ["city", "country"], city={"type": "string"}, country={"type": "string"}),
         "country is required"),
        (declaration("find", ["city"], city={"type": "string"}, country={"type": "string"}, zip={}), "zip is new"),
        (declaration("find", ["city"], city={"type": "integer"}, country={"type": "string"}),
         "city was {'type': 'string'} and is {'type': 'integer'}"),
    ],
)  # fmt: skip
def test_a_tool_that_takes_other_arguments_is_declared_as_offered(offered: dict[str, Any], difference: str) -> None:
    found = declare([TRAINED], [offered])
    if difference:
        assert found.tools == (offered,)
        assert found.differences == (f"find takes other arguments than in training ({difference}).",)
    else:
        assert found.tools == (TRAINED,)
        assert "in other words" in found.differences[0]


def test_what_is_missing_is_said() -> None:
    assert declare([TRAINED], []).differences == ("Trained, but not offered: find.",)
    assert declare([TRAINED], [TRAINED]).differences == ()


@pytest.mark.parametrize(
    ("task", "options", "source"),
    [
        (weather_task(), ToolOptions(), "made-up"), (weather_task(), ToolOptions(live=True), "open-meteo"),
        (weather_task(), ToolOptions(by_hand=True), "by-hand"), (Task(), ToolOptions(), None),
    ],
)  # fmt: skip
def test_the_weathers_own_source_is_for_the_weathers_tools_alone(
    task: Task, options: ToolOptions, source: str | None
) -> None:
    with chosen_tools(task, options) as chosen:
        assert (chosen.source.name if chosen.source else None, chosen.declared) == (source, task.tools)
    with (
        pytest.raises(WeathermanError, match="was not trained with them"),
        chosen_tools(Task(), ToolOptions(live=True)),
    ):
        pass
