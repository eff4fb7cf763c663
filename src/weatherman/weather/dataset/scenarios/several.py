"""Scenarios with several calls in one turn."""

from __future__ import annotations

from weatherman.weather.dataset.answers_forecast import forecast_end, span_answer
from weatherman.weather.dataset.answers_now import decisive_report, safety_sentence
from weatherman.weather.dataset.answers_several import compare_answer, several_answer
from weatherman.weather.dataset.chat import coordinates
from weatherman.weather.dataset.outlooks import Span
from weatherman.weather.dataset.questions import ask
from weatherman.weather.dataset.satire import dateline
from weatherman.weather.dataset.scenarios.present import located, today_as_observed
from weatherman.weather.dataset.scenarios.spans import span_words
from weatherman.weather.dataset.scene import Scene, current_call, forecast_call
from weatherman.weather.dataset.speech import join


def compare(scene: Scene) -> str:
    """Two places, looked up and asked for in parallel."""
    first = scene.now()
    city = next(city for city in scene.cities(2) if city != first.city)
    second = scene.at(city, first.weather.observed_at)
    wish = scene.rng.choices(("warmer", "colder", "nicer", "general"), (30, 15, 20, 35))[0]
    scene.chat.user(ask(scene.speaker, "compare", wish, a=first.city.name, b=city.name))
    scene.geocode(first.city, city)
    scene.fetch_now(first, second)
    scene.chat.answer(compare_answer(scene.speaker, first, second, wish, scene.exact_units))
    return scene.group(first.city, city)


def parallel(scene: Scene) -> str:
    """Two places looked up at once, three of known coordinates, or the present and the forecast of one in one turn."""
    kind = scene.rng.choices((2, 3, 1), (30, 30, 40))[0]
    return _both(scene) if kind == 1 else _several(scene, kind)


def _several(scene: Scene, count: int) -> str:
    moment = scene.moment()
    found = [scene.at(city, moment) for city in scene.cities(count)]
    places = [now.city for now in found]
    wish = "several"
    if count == 2:
        names = [city.name for city in places]
        scene.chat.user(ask(scene.speaker, "parallel", "two", **dict(zip("ab", names, strict=True))))
        scene.geocode(*places)
    else:
        wish = scene.rng.choices(("several", "warmest"), (75, 25))[0]
        names = [f"{city.name} ({', '.join(map(str, coordinates(city).values()))})" for city in places]
        scene.chat.user(ask(scene.speaker, "parallel", wish, **dict(zip("abc", names, strict=True))))
        scene.chat.places += [city.name for city in places]
    scene.fetch_now(*found)
    scene.chat.answer(several_answer(scene.speaker, found, wish, scene.exact_units))
    return scene.group(*places)


def _both(scene: Scene) -> str:
    now, speaker = scene.now(), scene.speaker
    start = now.weather.observed_at.date()
    days = scene.days(now.city, start, scene.rng.choice((3, 4, 5, 6)))
    days[0] = today_as_observed(days[0], now)
    span = Span(days, start, span_words(len(days)))
    scene.chat.user(ask(speaker, "parallel", "both", place=now.city.name, span=span.words, **located(now.city)))
    scene.chat.places.append(now.city.name)
    scene.chat.call(current_call(now.city, now.weather), forecast_call(now.city, days))
    intro = speaker.plainly("outlook", "ahead", span=span.words)
    ahead = span_answer(speaker, now.city, span, "general", scene.units, goes_on=True, intro=intro)
    here = join(decisive_report(speaker, now, scene.units), safety_sentence(speaker, now))
    answer = join(here, ahead, forecast_end(speaker, span, scene.units))
    scene.chat.answer(dateline(speaker, now.city, answer))
    return scene.group(now.city)
