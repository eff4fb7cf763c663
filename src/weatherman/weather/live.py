"""The real weather from Open-Meteo's free service (no key), for `weatherman chat --live`."""

from __future__ import annotations

import datetime
import http.client
import json
from typing import Any
from urllib.error import HTTPError, URLError
from urllib.parse import urlencode
from urllib.request import Request, urlopen

from weatherman import __version__
from weatherman.tools.source import ToolError
from weatherman.weather.dataset.chat import day_label
from weatherman.weather.dataset.climate import DIRECTIONS

_TIMEOUT_S = 10.0
_MAX_BYTES = 2**20
_MAX_PLACES = 5
_CURRENT = {
    "temperature_c": "temperature_2m",
    "feels_like_c": "apparent_temperature",
    "humidity_pct": "relative_humidity_2m",
    "wind_kmh": "wind_speed_10m",
    "gust_kmh": "wind_gusts_10m",
    "wind_dir": "wind_direction_10m",
    "condition": "weather_code",
}
_DAILY = {
    "high_c": "temperature_2m_max",
    "low_c": "temperature_2m_min",
    "rain_chance_pct": "precipitation_probability_max",
    "condition": "weather_code",
}
_WHOLE = ("humidity_pct", "wind_kmh", "gust_kmh", "high_c", "low_c", "rain_chance_pct")
# WMO's code table 4677 as the service groups it, in the words of the training data.
_CONDITIONS = {
    0: "clear sky", 1: "mostly clear", 2: "partly cloudy", 3: "overcast", 45: "fog", 48: "fog",
    51: "drizzle", 53: "drizzle", 55: "drizzle", 56: "sleet", 57: "sleet",
    61: "light rain", 63: "rain", 65: "heavy rain", 66: "sleet", 67: "sleet",
    71: "light snow", 73: "snow", 75: "heavy snow", 77: "light snow",
    80: "light rain", 81: "rain", 82: "heavy rain", 85: "light snow", 86: "heavy snow",
    95: "thunderstorm", 96: "thunderstorm", 99: "thunderstorm",
}  # fmt: skip


class LiveWeather:
    """Open-Meteo over HTTPS, each call bounded in time and size.

    Args:
        forecast_url: the forecast service.
        geocoding_url: the geocoding service.
        timeout_s: how long the service may be silent.
    """

    name = "open-meteo"
    label = "weather of Open-Meteo (live)"

    def __init__(
        self,
        forecast_url: str = "https://api.open-meteo.com/v1/forecast",
        geocoding_url: str = "https://geocoding-api.open-meteo.com/v1/search",
        timeout_s: float = _TIMEOUT_S,
    ) -> None:
        self._forecast_url, self._geocoding_url, self._timeout_s = forecast_url, geocoding_url, timeout_s

    def geocode_location(self, city: str, country: str = "") -> dict[str, Any]:
        """The service's places of that name."""
        found = self._get(self._geocoding_url, name=city, count=10, language="en", format="json").get("results") or []
        wanted = country.strip().casefold()
        keys = ("country", "country_code", "admin1")
        places = [p for p in found if not wanted or wanted in (str(p.get(key, "")).casefold() for key in keys)]
        return {"results": [_geocoded(place) for place in places[:_MAX_PLACES]]}

    def get_current_weather(self, latitude: float, longitude: float) -> dict[str, Any]:
        """The service's present weather."""
        current = self._forecast(latitude, longitude, current=",".join(_CURRENT.values()))["current"]
        at = datetime.datetime.fromisoformat(current["time"])
        return {**{name: _value(name, current[key]) for name, key in _CURRENT.items()}, "time": at.strftime("%H:%M")}

    def get_forecast(self, latitude: float, longitude: float, days: int) -> dict[str, Any]:
        """The service's daily forecast."""
        daily = self._forecast(latitude, longitude, daily=",".join(_DAILY.values()), forecast_days=days)["daily"]
        rows = [
            [
                day_label(datetime.date.fromisoformat(day)),
                *(_value(name, daily[key][index]) for name, key in _DAILY.items()),
            ]
            for index, day in enumerate(daily["time"])
        ]
        return {"columns": ["day", *_DAILY], "days": rows}

    def _forecast(self, latitude: float, longitude: float, **query: Any) -> dict[str, Any]:
        return self._get(self._forecast_url, latitude=latitude, longitude=longitude, timezone="auto", **query)

    def _get(self, url: str, **query: Any) -> dict[str, Any]:
        request = Request(f"{url}?{urlencode(query)}", headers={"User-Agent": f"weatherman-lora/{__version__}"})
        try:
            with urlopen(request, timeout=self._timeout_s) as response:
                found = json.loads(response.read(_MAX_BYTES + 1))
        except HTTPError as problem:
            name = {400: "bad_request", 429: "rate_limited"}.get(problem.code, "service_unavailable")
            raise ToolError(name, f"the weather service answered with status {problem.code}") from problem
        except TimeoutError as problem:
            raise ToolError("timeout", f"no response after {self._timeout_s:g} s") from problem
        except (URLError, OSError, http.client.HTTPException) as problem:
            reason = getattr(problem, "reason", problem)
            if isinstance(reason, TimeoutError):
                raise ToolError("timeout", f"no response after {self._timeout_s:g} s") from problem
            raise ToolError("connection_failed", f"the weather service cannot be reached: {reason}") from problem
        except (ValueError, RecursionError) as problem:
            raise ToolError("bad_response", "the weather service sent something else than JSON") from problem
        if not isinstance(found, dict):
            raise ToolError("bad_response", "the weather service sent something else than an object")
        return found


def _geocoded(place: dict[str, Any]) -> dict[str, Any]:
    region = {"region": str(place["admin1"])} if place.get("admin1") else {}
    where = {name: round(float(place[name]), 2) for name in ("latitude", "longitude")}
    return {"name": str(place["name"]), **region, "country": str(place.get("country", "")), **where}


def _value(name: str, raw: Any) -> Any:
    if name == "condition":
        return _CONDITIONS.get(int(raw), "overcast")
    if name == "wind_dir":
        return DIRECTIONS[round(float(raw) / 22.5) % len(DIRECTIONS)]
    if raw is None:
        return None
    return round(float(raw)) if name in _WHOLE else round(float(raw), 1)
