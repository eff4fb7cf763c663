"""Scenarios in which a tool fails: errors, time-outs, empty results, told honestly."""

from __future__ import annotations

from typing import Any

from weatherman.weather.dataset.answers_now import current_answer
from weatherman.weather.dataset.chat import coordinates
from weatherman.weather.dataset.questions import ask
from weatherman.weather.dataset.scenarios.present import ask_about
from weatherman.weather.dataset.scene import Scene
from weatherman.weather.dataset.speech import join, sentence

_FAILURES: tuple[dict[str, Any], ...] = (
    {"error": "timeout", "message": "no response after 10 s"},
    {"error": "service_unavailable", "status": 503},
    {"error": "rate_limited", "status": 429, "message": "too many requests"},
    {"error": "internal_error", "status": 500},
    {"error": "bad_gateway", "status": 502},
    {"error": "no_data", "message": "no observation for these coordinates"},
    {"error": "connection_reset"},
    {},
)
_TRANSIENT = _FAILURES[:5]
_MADE_UP = (
    ("Bra", "Kel", "Mor", "Tal", "Vin", "Os", "Dren", "Quil", "Sar", "Hol", "Pem", "Lun", "Zar", "Fen", "Wix", "Ond"),
    (
        "mere",
        "dorf",
        "stead",
        "polis",
        "burn",
        "wick",
        "avia",
        "ford",
        "grad",
        "haven",
        "mont",
        "shire",
        "ville",
        "ton",
    ),
    ("", "", "-on-Sea", " Falls", " Major", "bury"),
)


def tool_failure(scene: Scene) -> str:
    """The weather service fails (for good, or until a second try), or does not know the place."""
    kind = scene.rng.choices(("failed", "retried", "not found"), (45, 22, 33))[0]
    return {"failed": _failed, "retried": _retried, "not found": _not_found}[kind](scene)


def _ask(scene: Scene) -> Any:
    now = scene.now()
    ask_about(scene, now, "current", "general")
    return now


def _failed(scene: Scene) -> str:
    """Nothing is known, and nothing is made up."""
    now, speaker = scene.now(), scene.speaker
    forecast = speaker.chance(0.35)
    if forecast:
        ask_about(scene, now, "forecast", "tomorrow-general")
        call: tuple[str, dict[str, Any]] = ("get_forecast", {**coordinates(now.city), "days": 2})
    else:
        ask_about(scene, now, "current", scene.rng.choice(("general", "temp", "wind", "umbrella", "jacket", "run")))
        call = ("get_current_weather", dict(coordinates(now.city)))
    nothing = speaker.plainly("offer", "nothing", place=now.city.name)
    failures = scene.rng.sample(_FAILURES, 2 if speaker.chance(0.4) else 1)
    for failure in failures:
        scene.chat.call((*call, failure))
    scene.chat.answer(join(sentence(f"{nothing}: {speaker.say('failed')}"), speaker.tell("failed_offer")))
    return scene.group(now.city)


def _retried(scene: Scene) -> str:
    """The second try succeeds."""
    now = _ask(scene)
    scene.chat.call(("get_current_weather", dict(coordinates(now.city)), scene.rng.choice(_TRANSIENT)))
    scene.fetch_now(now)
    scene.chat.answer(current_answer(scene.speaker, now, scene.units))
    return scene.group(now.city)


def _not_found(scene: Scene) -> str:
    """A place that no service knows."""
    speaker, rng = scene.speaker, scene.rng
    seed = scene.cities(1)[0]
    name = "".join(rng.choice(part) for part in _MADE_UP)
    scene.chat.user(ask(speaker, "current", rng.choice(("general", "temp", "umbrella", "jacket")), place=name))
    scene.chat.call(("geocode_location", {"city": name}, {"results": []}))
    scene.chat.answer(join(speaker.tell("notfound", place=name), sentence(speaker.plainly("offer", "respell"))))
    return scene.group(seed)
