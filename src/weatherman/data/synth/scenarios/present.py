"""Scenarios about one place's present: plain, in other units, with what follows, and dangerous."""

from __future__ import annotations

from dataclasses import replace

from weatherman.data.synth.answers_forecast import day_clause, dry_or_wet, farewell, outlook_clause, rain_clause
from weatherman.data.synth.answers_now import Now, current_answer, report_sentence
from weatherman.data.synth.answers_units import units_answer
from weatherman.data.synth.chat import place_result
from weatherman.data.synth.climate import FALLING, Day, spanning
from weatherman.data.synth.danger import safety_answer
from weatherman.data.synth.questions import ask
from weatherman.data.synth.scene import Scene
from weatherman.data.synth.speech import join, sentence
from weatherman.data.synth.units import Units
from weatherman.data.synth.verdicts import DANGERS, INTENTS, danger_of

_PLAIN_INTENTS = ("general", "temp", "wind", "humidity", "feels")
_LOCATED = ("general", "umbrella", "wind", "temp", "jacket", "run", "humidity")
_NUM_TRIES = 3000


def current(scene: Scene) -> str:
    """What is it like now? Sometimes with coordinates, so that no look-up is needed."""
    now, rng = scene.now(), scene.rng
    if rng.random() < 0.15:
        intent = rng.choice(_LOCATED)
        where = {"lat": f"{now.city.latitude}", "lon": f"{now.city.longitude}"}
        scene.chat.user(ask(scene.speaker, "located", intent, place=now.city.name, **where))
        scene.chat.places.append(now.city.name)
    else:
        intent = choose_intent(scene, now)
        ask_about(scene, now, "current", intent)
    scene.fetch_now(now)
    scene.chat.answer(current_answer(scene.speaker, now, scene.units, intent))
    return scene.group(now.city)


def choose_intent(scene: Scene, now: Now) -> str:
    """What the user wants to know; stars only after dark, clotheslines and picnics only by day."""
    if scene.rng.random() < 0.5:
        return scene.rng.choices(_PLAIN_INTENTS, (56, 18, 10, 8, 8))[0]
    times = now.situation.times
    ruled_out = {"stars"} if "night" not in times else set()
    if "day" not in times:
        ruled_out |= {"laundry", "picnic", "kite"}
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
    """Now and tomorrow: the place first, then both kinds of weather, one after the other or together."""
    now, speaker = scene.now(), scene.speaker
    ask_about(scene, now, "chain", "any")
    days = scene.days(now.city, now.weather.observed_at.date(), 2)
    days[0] = today_as_observed(days[0], now)
    scene.fetch_now(now)
    scene.fetch_forecast(now.city, days)
    tomorrow, use = days[1], scene.units
    clause = day_clause(speaker, tomorrow, "tomorrow", use)
    rain = (
        rain_clause(speaker, tomorrow, "tomorrow") if speaker.chance(0.5) else dry_or_wet(speaker, tomorrow, "tomorrow")
    )
    trend = trend_clause(scene, now, use, tomorrow.high_c)
    order = [sentence(speaker.open(clause)), sentence(f"{trend}, and {rain}")]
    if speaker.chance(0.5):
        order = [sentence(f"{clause}; {rain}"), sentence(trend)]
    scene.chat.answer(join(report_sentence(speaker, now, use), *order, farewell(speaker)))
    return scene.group(now.city)


def today_as_observed(day: Day, now: Now) -> Day:
    """The forecast of today, made to agree with what is observed."""
    weather = now.weather
    chance = max(day.rain_chance_pct, 85) if weather.condition in FALLING else min(day.rain_chance_pct, 40)
    return replace(spanning(day, weather.temperature_c), rain_chance_pct=chance, condition=weather.condition)


def trend_clause(scene: Scene, now: Now, use: Units, high_c: float) -> str:
    """Tomorrow's high against the present reading."""
    before, after = use.degrees(now.weather.temperature_c), use.degrees(high_c)
    tag = "same" if before == after else "warmer" if after > before else "cooler"
    return outlook_clause(scene.speaker, tag, day="tomorrow", diff=use.difference(now.weather.temperature_c, high_c))


def unsafe(scene: Scene) -> str:
    """Storm, heat, cold, snow, wind or fog that can hurt: sound advice under the humor."""
    wanted = scene.rng.choices(DANGERS, (30, 26, 20, 8, 8, 8))[0]
    for _ in range(_NUM_TRIES):
        city = scene.cities(1)[0]
        now = scene.at(city, scene.moment())
        if danger_of(now.weather) == wanted:
            break
    danger = danger_of(now.weather)
    ask_about(scene, now, "unsafe", danger) if danger else ask_about(scene, now, "current", "general")
    scene.fetch_now(now)
    answer = (
        safety_answer(scene.speaker, now, scene.units, danger)
        if danger
        else current_answer(scene.speaker, now, scene.units)
    )
    scene.chat.answer(answer)
    return scene.group(now.city)
