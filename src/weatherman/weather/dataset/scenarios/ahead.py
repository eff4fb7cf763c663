"""Scenarios about days to come: forecasts, and requests for more than there is."""

from __future__ import annotations

from weatherman.weather.dataset.answers_forecast import forecast_end, single_day_answer, span_answer
from weatherman.weather.dataset.climate import Day
from weatherman.weather.dataset.day_names import weekday
from weatherman.weather.dataset.outlooks import Span
from weatherman.weather.dataset.questions import ask
from weatherman.weather.dataset.satire import dateline
from weatherman.weather.dataset.scenarios.present import ask_about
from weatherman.weather.dataset.scenarios.spans import span_words
from weatherman.weather.dataset.scene import Scene
from weatherman.weather.dataset.speech import join, sentence

_LONGEST = 14
_CHOICE_OF_DAYS = 3
_REMARKS_ON_MANY_DAYS = 0.3
_ASKED = ("20 days", "21 days", "30 days", "45 days", "60 days", "90 days", "16 days", "25 days", "40 days", "18 days")
_FAR = (
    "two months",
    "three months",
    "six months",
    "eight months",
    "ten weeks",
    "half a year",
    "nine months",
    "twelve weeks",
)
_SPAN_WISHES = (("general", "rain", "dry", "best", "pack"), (46, 16, 14, 12, 12))
_WEEKEND_WISHES = (("general", "rain"), (60, 40))
_DAY_WISHES = (("general", "rain", "outside", "warm", "cold"), (40, 24, 18, 9, 9))


def forecast(scene: Scene) -> str:
    """Several days, tomorrow, the weekend, or a weekday."""
    kind = scene.rng.choices(("span", "tomorrow", "weekend", "weekday"), (50, 22, 12, 16))[0]
    return _single_day(scene, kind) if kind in ("tomorrow", "weekday") else _several_days(scene, kind)


def _single_day(scene: Scene, kind: str) -> str:
    now = scene.now()
    start, city = now.weather.observed_at.date(), now.city
    days = scene.days(city, start, 2 if kind == "tomorrow" else scene.rng.randint(3, 7))
    wish = scene.rng.choices(*_DAY_WISHES)[0]
    ask_about(scene, now, "forecast", f"{kind}-{wish}", day=weekday(days[-1].date))
    scene.fetch_forecast(city, days)
    span = Span(days[-1:], start, "")
    scene.chat.answer(single_day_answer(scene.speaker, city, span, wish, scene.units))
    return scene.group(city)


def _several_days(scene: Scene, kind: str) -> str:
    now = scene.now()
    start, city = now.weather.observed_at.date(), now.city
    if kind == "weekend":
        days = scene.days(city, start, max(1, 7 - start.weekday()))
        shown: list[Day] = [day for day in days if weekday(day.date) in ("Saturday", "Sunday")]
        span, wish = Span(shown, start, "the weekend"), scene.rng.choices(*_WEEKEND_WISHES)[0]
    else:
        count = scene.rng.choices((2, 3, 4, 5, 6, 7, 10, 14), (8, 22, 10, 22, 6, 20, 8, 4))[0]
        days = scene.days(city, start, count)
        span, wish = Span(days, start, span_words(count)), scene.rng.choices(*_SPAN_WISHES)[0]
        wish = wish if count > _CHOICE_OF_DAYS or wish not in ("dry", "best") else "general"
    ask_about(scene, now, "forecast", f"{kind}-{wish}", span=span.words)
    scene.fetch_forecast(city, days)
    if len(span.days) == 1:  # a Sunday's weekend
        scene.chat.answer(single_day_answer(scene.speaker, city, span, wish, scene.units))
    else:
        scene.chat.answer(span_answer(scene.speaker, city, span, wish, scene.units))
    return scene.group(city)


def out_of_range(scene: Scene) -> str:
    """More days than the forecast has are cut to the longest; a time months away is declined, with an offer."""
    return _months_away(scene) if scene.speaker.chance(0.25) else _cut_short(scene)


def _months_away(scene: Scene) -> str:
    speaker, city, asked = scene.speaker, scene.cities(1)[0], scene.rng.choice(_FAR)
    scene.chat.user(ask(speaker, "range", "far", place=city.name, asked=asked))
    refusal = speaker.tell("far", limit=f"{_LONGEST} days", asked=asked)
    offer = speaker.plainly("offer", "days", place=city.name, limit=f"{_LONGEST} days")
    scene.chat.answer(dateline(speaker, city, join(refusal, sentence(offer, "?"))))
    return scene.group(city)


def _cut_short(scene: Scene) -> str:
    now, speaker = scene.now(), scene.speaker
    start, asked = now.weather.observed_at.date(), scene.rng.choice(_ASKED)
    ask_about(scene, now, "range", "days", asked=asked)
    days = scene.days(now.city, start, _LONGEST)
    scene.fetch_forecast(now.city, days)
    clamp = speaker.tell("clamp", limit=f"{_LONGEST} days", asked=asked)
    span = Span(days, start, "those days")
    outlook = span_answer(speaker, now.city, span, "general", scene.units, goes_on=True)
    end = forecast_end(speaker, span, scene.units, _REMARKS_ON_MANY_DAYS)
    scene.chat.answer(dateline(speaker, now.city, join(clamp, outlook, end)))
    return scene.group(now.city)
