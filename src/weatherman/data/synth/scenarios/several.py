"""Scenarios with several calls in one turn."""

from __future__ import annotations

from weatherman.data.synth.answers_forecast import extreme_clause, farewell, span_answer
from weatherman.data.synth.answers_now import report_sentence
from weatherman.data.synth.answers_several import compare_answer, several_answer
from weatherman.data.synth.questions import ask
from weatherman.data.synth.scenarios.present import today_as_observed
from weatherman.data.synth.scenarios.spans import span_words
from weatherman.data.synth.scene import Scene, current_call, forecast_call
from weatherman.data.synth.speech import join, sentence


def compare(scene: Scene) -> str:
    """Two places, looked up and asked for in parallel."""
    first = scene.now()
    city = next(city for city in scene.cities(2) if city != first.city)
    second = scene.at(city, first.weather.observed_at)
    scene.chat.user(ask(scene.speaker, "compare", a=first.city.name, b=city.name))
    scene.geocode(first.city, city)
    scene.fetch_now(first, second)
    scene.chat.answer(compare_answer(scene.speaker, first, second, scene.units))
    return scene.group(first.city, city)


def parallel(scene: Scene) -> str:
    """Two places looked up at once, three of known coordinates, or the present and the forecast of one in one turn."""
    kind = scene.rng.choices((2, 3, 1), (30, 30, 40))[0]
    return _both(scene) if kind == 1 else _several(scene, kind)


def _several(scene: Scene, count: int) -> str:
    moment = scene.moment()
    found = [scene.at(city, moment) for city in scene.cities(count)]
    places = [now.city for now in found]
    if count == 2:
        names = [city.name for city in places]
        scene.chat.user(ask(scene.speaker, "parallel", "two", **dict(zip("ab", names, strict=True))))
        scene.geocode(*places)
    else:
        names = [f"{city.name} ({city.latitude}, {city.longitude})" for city in places]
        scene.chat.user(ask(scene.speaker, "parallel", "several", **dict(zip("abc", names, strict=True))))
        scene.chat.places += [city.name for city in places]
    scene.fetch_now(*found)
    scene.chat.answer(several_answer(scene.speaker, found, scene.units))
    return scene.group(*places)


def _both(scene: Scene) -> str:
    now, speaker = scene.now(), scene.speaker
    start = now.weather.observed_at.date()
    days = scene.days(now.city, start, scene.rng.choice((3, 4, 5, 6)))
    days[0] = today_as_observed(days[0], now)
    span = span_words(len(days))
    where = {"lat": f"{now.city.latitude}", "lon": f"{now.city.longitude}"}
    scene.chat.user(ask(speaker, "parallel", "both", place=now.city.name, span=span, **where))
    scene.chat.places.append(now.city.name)
    scene.chat.call(current_call(now.city, now.weather), forecast_call(now.city, days))
    report = report_sentence(speaker, now, scene.units)
    if speaker.chance(0.5):
        ahead = span_answer(speaker, now.city, days, start, span, scene.units, goes_on=True)
    else:
        kinds = speaker.rng.sample(("warmest", "coldest", "wettest"), 2)
        first, second = (extreme_clause(speaker, kind, days, start, scene.units) for kind in kinds)
        ahead = join(sentence(speaker.open(first)), sentence(second), farewell(speaker))
    scene.chat.answer(join(report, ahead))
    return scene.group(now.city)
