"""Scenarios of several turns: follow-up questions, corrections, ambiguous names."""

from __future__ import annotations

from weatherman.data.synth.answers_forecast import (
    day_clause,
    extreme_clause,
    farewell,
    rain_clause,
    span_answer,
    weekday,
)
from weatherman.data.synth.answers_now import (
    Now,
    brief_answer,
    current_answer,
    fact_clause,
    facts_sentence,
    parting,
    verdict_sentence,
)
from weatherman.data.synth.answers_units import converted
from weatherman.data.synth.chat import place_result
from weatherman.data.synth.gazetteer import City, draw_namesakes
from weatherman.data.synth.questions import ask
from weatherman.data.synth.scenarios.present import ask_about, choose_intent
from weatherman.data.synth.scenarios.spans import span_words
from weatherman.data.synth.scene import Scene, namesake_pool
from weatherman.data.synth.speech import join, sentence
from weatherman.data.synth.verdicts import INTENTS

_FACTS = ("wind", "humidity", "feels")
_CONVERSIONS = ("fahrenheit", "mph")
_EXTREMES = ("warmest", "coldest", "wettest")


def follow_up(scene: Scene) -> str:
    """A second question that the first result already answers: no new call."""
    now = scene.now()
    return _follow_forecast(scene, now) if scene.rng.random() < 0.4 else _follow_present(scene, now)


def _follow_present(scene: Scene, now: Now) -> str:
    speaker, tags = scene.speaker, now.situation
    ask_about(scene, now, "current", "general")
    scene.fetch_now(now)
    scene.chat.answer(current_answer(speaker, now, scene.units, short=True))
    fair = [intent for intent in INTENTS if intent not in ("stars", "kite")]
    intent = scene.rng.choice(
        [*_FACTS, *_FACTS, *_CONVERSIONS, *(i for i in fair if "day" in tags.times or i not in ("laundry", "picnic"))]
    )
    scene.chat.user(ask(speaker, "follow", intent))
    if intent in _CONVERSIONS:
        first = converted(speaker, now, intent)
    elif intent in _FACTS:
        fact = fact_clause(speaker, intent, now, scene.units)
        first = sentence(speaker.open(fact, tags) if speaker.chance(0.5) else fact)
    else:
        first = verdict_sentence(speaker, intent, now)
    if intent in INTENTS:
        second = facts_sentence(speaker, [scene.rng.choice(("wind", "humidity"))], now, scene.units)
    else:
        second = parting(speaker, tags, advise=speaker.chance(0.4))
    scene.chat.answer(join(first, second))
    return scene.group(now.city)


def _follow_forecast(scene: Scene, now: Now) -> str:
    speaker, city, rng = scene.speaker, now.city, scene.rng
    start, count = now.weather.observed_at.date(), rng.choice((4, 5, 6, 7))
    days = scene.days(city, start, count)
    ask_about(scene, now, "forecast", "span", span=span_words(count))
    scene.fetch_forecast(city, days)
    scene.chat.answer(span_answer(speaker, city, days, start, span_words(count), scene.units, goes_on=True))
    tag = rng.choice((*_EXTREMES, "weekday"))
    if tag == "weekday":
        day = rng.choice(days[1:])
        name = weekday(day.date)
        scene.chat.user(ask(speaker, "follow", tag, day=name))
        first = f"{day_clause(speaker, day, name, scene.units)}; {rain_clause(speaker, day, name)}"
    else:
        scene.chat.user(ask(speaker, "follow", tag))
        first = extreme_clause(speaker, tag, days, start, scene.units)
    scene.chat.answer(join(sentence(speaker.open(first) if speaker.chance(0.5) else first), farewell(speaker)))
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
    sorry = sentence(speaker.say("correction", place=right.city.name))
    scene.chat.answer(join(sorry, brief_answer(speaker, right, scene.units, intent)))
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
    speaker = scene.speaker
    labels = [place.label for place in places]
    options = f"{'; '.join(labels[:-1])} or {labels[-1]}" if len(labels) > 2 else " or ".join(labels)
    clause, end = speaker.question("ask", place=places[0].name, options=options)
    return sentence(speaker.open(clause) if speaker.chance(0.4) else clause, end)
