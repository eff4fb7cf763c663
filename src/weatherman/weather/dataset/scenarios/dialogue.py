"""Scenarios of several turns: follow-up questions, corrections, ambiguous names."""

from __future__ import annotations

from weatherman.weather.dataset.answers_forecast import day_clause, forecast_end, rain_clause, span_answer
from weatherman.weather.dataset.answers_now import (
    Now,
    brief_answer,
    current_answer,
    facts_sentences,
    parting,
    verdict_clause,
)
from weatherman.weather.dataset.answers_units import converted
from weatherman.weather.dataset.chat import place_result
from weatherman.weather.dataset.day_names import listed, weekday
from weatherman.weather.dataset.gazetteer import City, draw_namesakes
from weatherman.weather.dataset.outlooks import Span, extreme_clause
from weatherman.weather.dataset.questions import ask
from weatherman.weather.dataset.satire import dateline
from weatherman.weather.dataset.scenarios.present import ask_about, choose_intent
from weatherman.weather.dataset.scenarios.spans import span_words
from weatherman.weather.dataset.scene import Scene, namesake_pool
from weatherman.weather.dataset.situation import Situation
from weatherman.weather.dataset.speech import join, sentence
from weatherman.weather.dataset.verdicts import INTENTS

_FACTS = ("wind", "humidity", "feels")
_CONVERSIONS = ("fahrenheit", "mph")
_EXTREMES = ("warmest", "coldest", "wettest")
_REMARKS_LATER = 0.4
_BY_DAY = ("laundry", "picnic")
_QUESTION = Situation(frozenset({"q"}))


def follow_up(scene: Scene) -> str:
    """A second question that the first result already answers: no new call."""
    now = scene.now()
    return _follow_forecast(scene, now) if scene.rng.random() < 0.4 else _follow_present(scene, now)


def _follow_present(scene: Scene, now: Now) -> str:
    speaker, units = scene.speaker, scene.units
    fair = [intent for intent in INTENTS if intent not in ("stars", "kite", "nice")]
    intent = scene.rng.choice(
        [*_FACTS, *_FACTS, *_CONVERSIONS, *(i for i in fair if "day" in now.situation.times or i not in _BY_DAY)]
    )
    ask_about(scene, now, "current", "general")
    scene.fetch_now(now)
    scene.chat.answer(brief_answer(speaker, now, units, leave=intent))
    scene.chat.user(ask(speaker, "follow", intent))
    if intent in _CONVERSIONS:
        first = converted(speaker, now, intent)
    elif intent in _FACTS:
        first = facts_sentences(speaker, [intent], now, units)
    else:
        first = sentence(verdict_clause(speaker, intent, now, units))
    warned = now.hurts_anybody  # and need not be again
    end = "" if warned else parting(speaker, now, advise=False, about="this")
    scene.chat.answer(join(first, end))
    return scene.group(now.city)


def _follow_forecast(scene: Scene, now: Now) -> str:
    speaker, city, rng, units = scene.speaker, now.city, scene.rng, scene.units
    start, count = now.weather.observed_at.date(), rng.choice((4, 5, 6, 7))
    days = scene.days(city, start, count)
    span = Span(days, start, span_words(count))
    ask_about(scene, now, "forecast", "span-general", span=span.words)
    scene.fetch_forecast(city, days)
    days_told = span_answer(speaker, city, span, "general", units, goes_on=True)
    warning = forecast_end(speaker, span, units, share=0)
    scene.chat.answer(dateline(speaker, city, join(days_told, warning)))
    tag = rng.choice((*_EXTREMES, "weekday"))
    if tag == "weekday":
        day = rng.choice(days[2:])
        name = weekday(day.date)
        scene.chat.user(ask(speaker, "follow", tag, day=name))
        told = [day_clause(speaker, day, name, units), rain_clause(speaker, day, name)]
        about = Span([day], start, "")
    else:
        scene.chat.user(ask(speaker, "follow", tag))
        told, about = [extreme_clause(speaker, tag, span, units)], span
    end = "" if warning else forecast_end(speaker, about, units, _REMARKS_LATER)
    scene.chat.answer(join(*map(sentence, told), end))
    return scene.group(city)


def correction(scene: Scene) -> str:
    """The user meant another place; it is looked up anew."""
    wrong, speaker = scene.now(), scene.speaker
    right = scene.at(next(city for city in scene.cities(2) if city != wrong.city), wrong.weather.observed_at)
    intent = choose_intent(scene, wrong) if "day" in wrong.situation.times else "general"
    ask_about(scene, wrong, "current", intent)
    scene.fetch_now(wrong)
    scene.chat.answer(brief_answer(speaker, wrong, scene.units, intent))
    scene.chat.user(ask(speaker, "correction", place=right.city.name, wrong=wrong.city.name))
    scene.geocode(right.city)
    scene.fetch_now(right)
    sorry = speaker.tell("correction", place=right.city.name)
    scene.chat.answer(join(sorry, brief_answer(speaker, right, scene.units, intent, dated=False)))
    return scene.group(wrong.city, right.city)


def ambiguous(scene: Scene) -> str:
    """A name of several places: asked back, then answered."""
    slot, speaker, rng = scene.slot, scene.speaker, scene.rng
    places = draw_namesakes(rng, namesake_pool(slot.scenario, slot.held_out, scene.seed))
    chosen = rng.choice(places)
    now = scene.now(chosen)
    intent = choose_intent(scene, now)
    scene.chat.user(ask(speaker, "current", intent, place=chosen.name))
    scene.chat.call(("geocode_location", {"city": chosen.name}, place_result(*places)))
    scene.chat.answer(ask_back(scene, places))
    scene.chat.user(ask(speaker, "which", "region", region=chosen.region or chosen.country, place=chosen.name))
    scene.fetch_now(now)
    scene.chat.answer(current_answer(speaker, now, scene.units, intent))
    return f"{slot.scenario}/{chosen.name.lower()}"


def ask_back(scene: Scene, places: list[City]) -> str:
    """The question which of the places is meant."""
    options = listed([place.label for place in places], last="or", mark=";")
    return sentence(scene.speaker.say("ask", _QUESTION, place=places[0].name, options=options), "?")
