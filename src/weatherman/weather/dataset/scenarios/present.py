"""Scenarios about one place's present: plain, in other units, with what follows, and dangerous."""

from __future__ import annotations

from dataclasses import replace

from weatherman.weather.dataset.answers_forecast import day_clause, forecast_end, rain_clause, told_day
from weatherman.weather.dataset.answers_now import Now, current_answer, decisive_report, safety_sentence
from weatherman.weather.dataset.answers_units import units_answer
from weatherman.weather.dataset.chat import coordinates, place_result
from weatherman.weather.dataset.climate import COMFORT_C, FALLING, SNOW, Day, spanning
from weatherman.weather.dataset.danger import safety_answer
from weatherman.weather.dataset.day_names import what_falls
from weatherman.weather.dataset.gazetteer import City
from weatherman.weather.dataset.outlooks import Span, wetness
from weatherman.weather.dataset.questions import ask
from weatherman.weather.dataset.satire import dateline
from weatherman.weather.dataset.scene import Scene
from weatherman.weather.dataset.speech import join, sentence
from weatherman.weather.dataset.units import Units
from weatherman.weather.dataset.verdicts import DANGERS, INTENTS

_PLAIN_INTENTS = ("general", "temp", "wind", "humidity", "feels")
_LOCATED = ("general", "umbrella", "wind", "temp", "jacket", "run", "humidity")
_NUM_TRIES = 3000
_DEGREES_MATTER = 4
_CHANGE_C = 2


def current(scene: Scene) -> str:
    """What is it like now? Sometimes with coordinates, so that no look-up is needed."""
    now, rng = scene.now(), scene.rng
    if rng.random() < 0.15:
        intent = rng.choice(_LOCATED)
        scene.chat.user(ask(scene.speaker, "located", intent, place=now.city.name, **located(now.city)))
        scene.chat.places.append(now.city.name)
    else:
        intent = choose_intent(scene, now)
        ask_about(scene, now, "current", intent)
    scene.fetch_now(now)
    scene.chat.answer(current_answer(scene.speaker, now, scene.units, intent))
    return scene.group(now.city)


def located(city: City) -> dict[str, str]:
    """The coordinates of a place as a user types them."""
    return {name[:3]: str(value) for name, value in coordinates(city).items()}


def choose_intent(scene: Scene, now: Now) -> str:
    """What the user wants to know; stars only after dark, clotheslines and picnics only by day."""
    if scene.rng.random() < 0.5:
        return scene.rng.choices(_PLAIN_INTENTS, (56, 18, 10, 8, 8))[0]
    times = now.situation.times
    ruled_out = {"stars"} if "night" not in times else set()
    if "day" not in times:
        ruled_out |= {"laundry", "picnic", "kite", "nice"}
    return scene.rng.choice([intent for intent in INTENTS if intent not in ruled_out])


def ask_about(scene: Scene, now: Now, kind: str, tag: str, **values: str) -> None:
    """The user's question about a place, and the look-up of that place; some name the country too."""
    city = now.city
    if scene.rng.random() < 0.2:
        scene.chat.user(ask(scene.speaker, kind, tag, place=f"{city.name}, {city.country}", **values))
        arguments = {"city": city.name, "country": city.country}
        scene.chat.call(("geocode_location", arguments, place_result(city)))
    else:
        scene.chat.user(ask(scene.speaker, kind, tag, place=city.name, **values))
        scene.geocode(city)


def units(scene: Scene) -> str:
    """The user wants Fahrenheit, miles per hour, knots or metres per second."""
    wanted = scene.rng.choice(("fahrenheit", "imperial", "knots", "ms", "both"))
    now = scene.now()
    ask_about(scene, now, "units", wanted)
    scene.fetch_now(now)
    scene.chat.answer(units_answer(scene.speaker, now, wanted))
    return scene.group(now.city)


def chain(scene: Scene) -> str:
    """Now and tomorrow: the place first, then both kinds of weather, one after the other."""
    now, speaker, use = scene.now(), scene.speaker, scene.exact_units
    wish = scene.rng.choice(("general", "warmer", "better"))
    ask_about(scene, now, "chain", wish)
    start = now.weather.observed_at.date()
    days = scene.days(now.city, start, 2)
    days[0] = today_as_observed(days[0], now)
    scene.fetch_now(now)
    scene.fetch_forecast(now.city, days)
    tomorrow = days[1]
    here, safety = decisive_report(speaker, now, use), safety_sentence(speaker, now)
    day, rain = day_clause(speaker, tomorrow, "tomorrow", use), rain_clause(speaker, tomorrow, "tomorrow")
    if wish == "general":
        told = [here, safety, sentence(day), change_sentence(scene, use, days), sentence(rain)]
    elif wish == "warmer":
        told = [here, safety, sentence(trend_clause(scene, use, days)), told_day(speaker, day, rain)]
    else:
        told = [sentence(better_clause(scene, now, days)), here, safety, told_day(speaker, day, rain)]
    end = forecast_end(speaker, Span(days[1:], start, ""), use)
    scene.chat.answer(dateline(speaker, now.city, join(*told, end)))
    return scene.group(now.city)


def better_clause(scene: Scene, now: Now, days: list[Day]) -> str:
    """Whether tomorrow improves on today: first by thunder, then by what falls, then by warmth."""
    if now.weather.condition == "thunderstorm" != days[1].condition:
        return scene.speaker.plainly("outlook", "storm-passes")
    wet, wet_then = now.weather.condition in FALLING, wetness(days[1]) == "wet"
    if wet != wet_then:
        tag = "better-dry" if wet else "worse-wet"
    else:
        strain, strain_then = (abs(day.high_c - COMFORT_C) for day in days)
        tag = "same" if abs(strain - strain_then) < _DEGREES_MATTER else "better" if strain_then < strain else "worse"
        tag = f"{tag}-{'wet' if wet else 'dry'}-both"
    falling = "snowing" if now.weather.condition in SNOW else "raining"
    return scene.speaker.plainly("outlook", tag, falling=falling, what=what_falls(days[1:]))


def today_as_observed(day: Day, now: Now) -> Day:
    """The forecast of today, made to agree with what is observed."""
    weather = now.weather
    chance = max(day.rain_chance_pct, 85) if weather.condition in FALLING else min(day.rain_chance_pct, 40)
    return replace(spanning(day, weather.temperature_c), rain_chance_pct=chance, condition=weather.condition)


def _trend(use: Units, days: list[Day]) -> str:
    before, after = (use.degrees(day.high_c) for day in days)
    return "same" if before == after else "warmer" if after > before else "cooler"


def trend_clause(scene: Scene, use: Units, days: list[Day]) -> str:
    """Tomorrow's high against today's, where it was asked."""
    diff = use.difference(days[0].high_c, days[1].high_c)
    return scene.speaker.plainly("outlook", _trend(use, days), diff=diff)


def change_sentence(scene: Scene, use: Units, days: list[Day]) -> str:
    """How far tomorrow's high is from today's, after it was told; nothing where it is hardly another."""
    if abs(days[0].high_c - days[1].high_c) < _CHANGE_C:
        return ""
    diff = use.difference(days[0].high_c, days[1].high_c)
    return sentence(scene.speaker.plainly("outlook", f"{_trend(use, days)}-so", diff=diff))


def unsafe(scene: Scene) -> str:
    """Storm, heat, cold, snow, wind or fog that can hurt: sound advice under the humor."""
    wanted = scene.rng.choices(DANGERS, (30, 26, 20, 8, 8, 8))[0]
    for _ in range(_NUM_TRIES):
        city = scene.cities(1)[0]
        now = scene.at(city, scene.moment())
        if now.danger == wanted:
            break
    if not now.danger:
        ask_about(scene, now, "current", "general")
        scene.fetch_now(now)
        scene.chat.answer(current_answer(scene.speaker, now, scene.units))
        return scene.group(now.city)
    asked = scene.speaker.chance(0.6)
    ask_about(scene, now, "unsafe", f"{now.danger}-may" if asked else now.danger)
    scene.fetch_now(now)
    scene.chat.answer(safety_answer(scene.speaker, now, scene.units, now.danger, asked=asked))
    return scene.group(now.city)
