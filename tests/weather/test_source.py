"""The made-up weather is repeatable and fits its place; the live service is asked rightly and may fail as it likes."""

from __future__ import annotations

import csv
import datetime
import json
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlparse

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from weatherman.chat.tool_use import run_calls
from weatherman.records import ToolCall
from weatherman.tools.source import ToolError
from weatherman.weather.dataset import gazetteer
from weatherman.weather.live import LiveWeather
from weatherman.weather.source import MadeUpWeather
from weatherman.weather.tool_source import WeatherTools
from weatherman.weather.tools import WEATHER_TOOLS

JULY, JANUARY = (datetime.datetime(2026, month, 10, 12, 7, tzinfo=datetime.timezone.utc) for month in (7, 1))


def made_up(now: datetime.datetime = JULY) -> MadeUpWeather:
    return MadeUpWeather(lambda: now)


def test_places_are_real_and_found_however_they_are_typed() -> None:
    (lisbon,) = made_up().geocode_location(" lisbon ")["results"]
    assert (lisbon["country"], round(lisbon["latitude"]), round(lisbon["longitude"])) == ("Portugal", 39, -9)
    assert made_up().geocode_location("Lisbon, Portugal") == made_up().geocode_location("LISBON", "portugal")
    assert made_up().geocode_location("Lisbon", "France") == {"results": []}
    assert made_up().geocode_location("Zürich") == made_up().geocode_location("zurich")
    assert made_up().geocode_location("Nowhereville-on-Sea") == {"results": []}
    springfields = made_up().geocode_location("Springfield")["results"]
    assert len(springfields) > 1
    assert len({place["region"] for place in springfields}) == len(springfields)
    (one,) = made_up().geocode_location("Springfield", springfields[1]["region"])["results"]
    assert one == springfields[1]


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("London", ["United Kingdom", "Ontario"]),
        ("Rome", ["Italy", "Georgia", "New York"]),
        ("Athens", ["Greece", "Georgia", "Ohio", "Alabama"]),
        ("Barcelona", ["Spain", "Venezuela"]),
        ("Florence", ["Italy", "Alabama", "South Carolina", "Kentucky", "Arizona"]),
        ("Hyderabad", ["India", "Pakistan"]),
    ],
)
def test_shared_names_give_all_their_places_the_most_populous_first(name: str, expected: list[str]) -> None:
    found = made_up().geocode_location(name)["results"]
    assert [place.get("region") or place["country"] for place in found] == expected
    for place, where in zip(found, expected, strict=True):
        assert made_up().geocode_location(f"{name}, {where}")["results"] == [place]


def test_every_row_of_the_gazetteer_can_be_found_once() -> None:
    with gazetteer._FILE.open(encoding="utf-8", newline="") as file:
        rows = {
            (*(row[key] for key in ("name", "region", "country")), float(row["latitude"]))
            for row in csv.DictReader(file)
        }
    found = [
        (name, place.get("region", ""), place["country"], place["latitude"])
        for name in {name for name, *_ in rows}
        for place in made_up().geocode_location(name)["results"]
        if place["name"] == name  # accents and case aside, other places may be written so
    ]
    assert sorted(found) == sorted(rows)


def test_countries_may_be_abbreviated() -> None:
    assert made_up().geocode_location("London", "UK") == made_up().geocode_location("London", "United Kingdom")
    assert made_up().geocode_location("Athens, USA") == made_up().geocode_location("Athens", "United States")


def test_same_place_and_hour_same_weather() -> None:
    first = made_up().get_current_weather(38.72, -9.14)
    assert first == made_up(JULY.replace(minute=11)).get_current_weather(38.72, -9.14)
    assert first != made_up(JULY.replace(hour=20)).get_current_weather(38.72, -9.14)
    assert first != made_up(JANUARY).get_current_weather(38.72, -9.14)
    assert first["time"] == "11:30"
    assert made_up().get_forecast(38.72, -9.14, 5) == made_up().get_forecast(38.72, -9.14, 5)


def test_seasons_are_right() -> None:
    def mean(now: datetime.datetime, latitude: float) -> float:
        days = made_up(now).get_forecast(latitude, 37.6, 14)["days"]
        return sum(high + low for _, high, low, *_ in days) / 28

    assert mean(JULY, 55.75) > mean(JANUARY, 55.75) + 10
    assert mean(JULY, -40) < mean(JANUARY, -40)


@settings(max_examples=60, deadline=None)
@given(st.floats(-90, 90), st.floats(-180, 180), st.integers(1, 14))
def test_forecast_holds_the_present_and_follows_on(latitude: float, longitude: float, days: int) -> None:
    now = made_up().get_current_weather(latitude, longitude)
    found = made_up().get_forecast(latitude, longitude, days)
    assert found["columns"][:3] == ["day", "high_c", "low_c"]
    assert found["days"][0][2] <= now["temperature_c"] <= found["days"][0][1]
    assert len(found["days"]) == len({day for day, *_ in found["days"]}) == days
    assert found["days"][0][0] in ("Thu 9", "Fri 10", "Sat 11")


# --- the live service, played by a local server ---------------------------------------------------------------------


class Service:
    """A local server: `answer` is a status, a body, or seconds of silence."""

    def __init__(self) -> None:
        self.answers: list[Any] = []
        self.asked: list[tuple[str, dict[str, list[str]]]] = []
        service = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                parts = urlparse(self.path)
                service.asked.append((parts.path, parse_qs(parts.query)))
                answer = service.answers.pop(0)
                if isinstance(answer, float):
                    time.sleep(answer)
                    return
                status, body = answer if isinstance(answer, tuple) else (200, json.dumps(answer).encode())
                self.send_response(status)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *arguments: object) -> None:
                """Stay quiet."""

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def weather(self, timeout_s: float = 5.0) -> LiveWeather:
        url = f"http://127.0.0.1:{self.server.server_port}"
        return LiveWeather(f"{url}/forecast", f"{url}/search", timeout_s)


@pytest.fixture
def service() -> Iterator[Service]:
    found = Service()
    yield found
    found.server.shutdown()
    found.server.server_close()


CURRENT = {
    "time": "2026-07-10T13:15", "temperature_2m": 21.34, "apparent_temperature": 20.0, "relative_humidity_2m": 61,
    "dew_point_2m": 13.5, "wind_speed_10m": 14.6, "wind_gusts_10m": 30.2, "wind_direction_10m": 293, "cloud_cover": 40,
    "precipitation": 0.0, "weather_code": 2,
}  # fmt: skip


def test_live_answers_have_the_form_of_the_training_data(service: Service) -> None:
    service.answers = [
        {"current": CURRENT},
        {"daily": {"time": ["2026-07-10", "2026-07-11"], "temperature_2m_max": [25.04, 19], "temperature_2m_min": [15, 12.3],
                   "precipitation_probability_max": [10, None], "wind_speed_10m_max": [20.6, 8], "weather_code": [95, 3]}},
        {"results": [{"name": "Lisbon", "country": "Portugal", "admin1": "Lisbon", "latitude": 38.71667, "longitude": -9.13333},
                     {"name": "Lisbon", "country": "United States", "country_code": "US", "latitude": 40.7720, "longitude": -80.76}]},
    ]  # fmt: skip
    live = service.weather()
    now = live.get_current_weather(38.72, -9.14)
    assert now == {"temperature_c": 21.3, "feels_like_c": 20.0, "humidity_pct": 61, "wind_kmh": 15, "gust_kmh": 30,
                   "wind_dir": "WNW", "condition": "partly cloudy", "time": "13:15"}  # fmt: skip
    assert list(now) == list(made_up().get_current_weather(38.72, -9.14))
    days = live.get_forecast(38.72, -9.14, 2)
    assert days["days"] == [["Fri 10", 25, 15, 10, "thunderstorm"], ["Sat 11", 19, 12, None, "overcast"]]
    assert days["columns"] == made_up().get_forecast(38.72, -9.14, 1)["columns"]
    assert live.geocode_location("Lisbon", "us") == {
        "results": [{"name": "Lisbon", "country": "United States", "latitude": 40.77, "longitude": -80.76}]
    }
    (path, query), (_, daily), (search, name) = service.asked
    assert (path, query["latitude"], query["timezone"]) == ("/forecast", ["38.72"], ["auto"])
    assert set(query["current"][0].split(",")) < set(CURRENT)
    assert daily["forecast_days"] == ["2"]
    assert (search, name["name"]) == ("/search", ["Lisbon"])


@pytest.mark.parametrize(
    ("answer", "error"),
    [((503, b""), "service_unavailable"), ((400, b"{}"), "bad_request"), ((429, b"{}"), "rate_limited"), ((200, b"<html>"), "bad_response"),
     ((200, b"[1]"), "bad_response"), ((200, b"[" * 99_999), "bad_response"), (1.5, "timeout")],
)  # fmt: skip
def test_live_failures_are_tool_errors(service: Service, answer: Any, error: str) -> None:
    service.answers = [answer]
    patience_s = 0.3 if error == "timeout" else 300  # on a busy machine any other answer may be slow as well
    with pytest.raises(ToolError) as caught:
        service.weather(timeout_s=patience_s).get_current_weather(1, 2)
    assert caught.value.result["error"] == error


def test_unreachable_service_and_nonsense_from_it(service: Service) -> None:
    with pytest.raises(ToolError) as caught:
        LiveWeather("http://127.0.0.1:9/x", timeout_s=2).get_current_weather(1, 2)
    assert caught.value.result["error"] == "connection_failed"
    service.answers = [{"current": {"time": "x"}}]
    call = ToolCall("1", "get_current_weather", {"latitude": 1, "longitude": 2})
    (outcome,) = run_calls([call], WEATHER_TOOLS, WeatherTools(service.weather()))
    assert (outcome.valid, outcome.result["error"]) == (True, "bad_response")
