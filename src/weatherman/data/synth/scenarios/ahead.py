"""Scenarios about days to come: forecasts, and requests for more than there is."""

from __future__ import annotations

from weatherman.data.synth.answers_forecast import farewell, single_day_answer, span_answer, weekday
from weatherman.data.synth.questions import ask
from weatherman.data.synth.scenarios.present import ask_about
from weatherman.data.synth.scenarios.spans import span_words
from weatherman.data.synth.scene import Scene
from weatherman.data.synth.speech import join, sentence

_LONGEST = 14
_ASKED = ("20 days", "21 days", "30 days", "45 days", "60 days", "90 days", "16 days", "25 days", "40 days", "18 days")


def forecast(scene: Scene) -> str:
    """Several days, tomorrow, the weekend, or a weekday."""
    now = scene.now()
    start, speaker, city = now.weather.observed_at.date(), scene.speaker, now.city
    kind = scene.rng.choices(("span", "tomorrow", "weekend", "weekday"), (50, 22, 12, 16))[0]
    if kind == "span":
        count = scene.rng.choices((2, 3, 4, 5, 6, 7, 10, 14), (8, 22, 10, 22, 6, 20, 8, 4))[0]
        ask_about(scene, now, "forecast", kind, span=span_words(count))
        days = scene.days(city, start, count)
        answer = span_answer(speaker, city, days, start, span_words(count), scene.units)
    elif kind == "tomorrow":
        ask_about(scene, now, "forecast", kind)
        days = scene.days(city, start, 2)
        answer = single_day_answer(speaker, city, days[1], "tomorrow", scene.units)
    elif kind == "weekend":
        ask_about(scene, now, "forecast", kind)
        days = scene.days(city, start, max(1, 7 - start.weekday()))
        shown = [day for day in days if weekday(day.date) in ("Saturday", "Sunday")]
        answer = span_answer(speaker, city, shown, start, "the weekend", scene.units)
    else:
        days = scene.days(city, start, scene.rng.randint(3, 7))
        wanted = days[-1]
        ask_about(scene, now, "forecast", kind, day=weekday(wanted.date))
        answer = single_day_answer(speaker, city, wanted, weekday(wanted.date), scene.units)
    scene.fetch_forecast(city, days)
    scene.chat.answer(answer)
    return scene.group(city)


def out_of_range(scene: Scene) -> str:
    """More days than the forecast has: clamped to the longest, or declined with an offer."""
    now, speaker = scene.now(), scene.speaker
    start, asked = now.weather.observed_at.date(), scene.rng.choice(_ASKED)
    limit = {"limit": f"{_LONGEST} days", "asked": asked}
    if speaker.chance(0.25):
        scene.chat.user(ask(speaker, "range", place=now.city.name, asked=asked))
        clause = speaker.open(speaker.say("clamp", **limit))
        scene.chat.answer(join(sentence(clause), sentence(speaker.say("decline_offer")), farewell(speaker)))
        return scene.group(now.city)
    ask_about(scene, now, "range", "any", asked=asked)
    days = scene.days(now.city, start, _LONGEST)
    scene.fetch_forecast(now.city, days)
    clause = speaker.say("clamp", **limit)
    clause = speaker.open(clause) if speaker.chance(0.4) else clause
    outlook = span_answer(speaker, now.city, days, start, span_words(_LONGEST), scene.units, goes_on=True)
    scene.chat.answer(join(sentence(clause), outlook))
    return scene.group(now.city)
