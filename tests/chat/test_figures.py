"""Figures that no tool gave are found, and those that one gave are left alone, however they are written."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from weatherman.chat.figures import figures_nobody_gave
from weatherman.records import Message

WEATHER = {"temperature_c": 18.4, "humidity_pct": 71, "wind_kmh": 23, "feels_like_c": -3, "time": "15:30"}
FORECAST = {"columns": ["day", "high_c"], "days": [["Thu 9", 21.5], ["Fri 10", 19], ["Sat 11", 22]]}


def conversation(*results: Any, question: str = "How is it?") -> list[Message]:
    compact = (json.dumps(result, separators=(",", ":")) for result in results)
    tools = [Message("tool", text, (), f"c{n}") for n, text in enumerate(compact)]
    return [Message("system", "You are a reporter."), Message("user", question), *tools]


@pytest.mark.parametrize(
    "answer",
    [
        "It is 18.4 °C, or 18 degrees, with 71 % and 23 km/h.",
        "Call it 65 °F, 65 Fahrenheit or 65.1 °F, and 14 mph.",
        "It feels like -3 °C, three below, that is 3 below zero.",
        "At 15:30, or 3:30 in the afternoon, or about 3 o'clock.",
        "Nothing to report.",
        "1. Sun\n2. Rain",
        "The M4 and the H100 do not count, nor does v2.",
    ],
)
def test_what_a_tool_gave_is_left_alone(answer: str) -> None:
    assert figures_nobody_gave(answer, conversation(WEATHER)) == ()


@pytest.mark.parametrize(
    ("answer", "found"),
    [
        ("It is 19 °C.", ("19 °C",)),
        ("It is 18.6 °C and 71%.", ("18.6 °C",)),
        ("Of all umbrellas 84 % are lost, 84 % of them twice, says a study of 1,200 men.", ("84 %", "1,200")),
        ("It is -18 °C.", ("-18 °C",)),
        ("Rain at 16:45.", ("16:45",)),
        ("It is 66 °F.", ("66 °F",)),
        ("Since 1887.", ("1887",)),
    ],
)
def test_what_no_tool_gave_is_found(answer: str, found: tuple[str, ...]) -> None:
    assert figures_nobody_gave(answer, conversation(WEATHER)) == found


def test_a_number_of_rows_and_what_the_user_said_are_given() -> None:
    told = conversation(FORECAST, question="And the next five days? We are 40 people.")
    assert figures_nobody_gave("For 3 days, the 9th to the 11th: 22 °C. For 5 days and 40 people.", told) == ()
    assert figures_nobody_gave("For 7 days.", told) == ("7",)


def test_any_tool_will_do() -> None:
    result = {"city": "Rome", "population": 2318895, "share": 0.45, "note": "founded 753 BC"}
    told = conversation(result, "not JSON: 12 left")
    assert figures_nobody_gave("2.3 million people, 45 %, since 753, and 12 left.", told) == ()
    assert figures_nobody_gave("2.6 million people, 48 %, since 735.", told) == ("2.6", "48 %", "735")


def test_an_answer_gives_itself_nothing() -> None:
    told = [*conversation(WEATHER), Message("assistant", "It is 40 °C."), Message("user", "Really?")]
    assert figures_nobody_gave("Yes, 40 °C.", told) == ("40 °C",)
    assert figures_nobody_gave("It is 20 °C.", [Message("user", "Oslo?")]) == ("20 °C",)


@given(st.text(max_size=80), st.text(max_size=80))
def test_any_text_can_be_read(answer: str, result: str) -> None:
    figures_nobody_gave(answer, [Message("user", result), Message("tool", result, (), "c")])
    assert figures_nobody_gave(answer, [Message("user", answer)]) == ()
