"""Scenarios without tools: weather lore, small talk, and what is not about weather."""

from __future__ import annotations

from weatherman.weather.dataset.lore import topics
from weatherman.weather.dataset.questions import noisy
from weatherman.weather.dataset.scene import Scene
from weatherman.weather.dataset.situation import Situation
from weatherman.weather.dataset.speech import join, sentence
from weatherman.weather.dataset.split import is_held_out
from weatherman.weather.dataset.voices import Fragment, bank, expand

_SMALL_TALK_SHARE = 0.2


def no_tool(scene: Scene) -> str:
    """A weather fact explained, or small talk in voice."""
    return _small_talk(scene) if scene.rng.random() < _SMALL_TALK_SHARE else _lore(scene)


def _side(scene: Scene, kind: str) -> tuple[Fragment, ...]:
    """The users' sentences of a kind that belong to this side of the split."""
    found = (f for f in bank("user", kind) if is_held_out(kind, f.text, scene.seed) == scene.slot.held_out)
    return tuple(found)


def _small_talk(scene: Scene) -> str:
    speaker = scene.speaker
    said = scene.rng.choice(_side(scene, "smalltalk"))
    scene.chat.user(noisy(scene.rng, expand(scene.rng, said.text)))
    reply = speaker.tell("smalltalk", Situation(frozenset(said.tags)))
    scene.chat.answer(join(reply, speaker.tell("decline_offer")))
    return f"{scene.slot.scenario}/smalltalk: {said.text}"


def _lore(scene: Scene) -> str:
    speaker, rng = scene.speaker, scene.rng
    topic = rng.choice([one for one in topics() if is_held_out("lore", one.key, scene.seed) == scene.slot.held_out])
    scene.chat.user(noisy(rng, expand(rng, rng.choice(topic.questions))))
    parts = [expand(rng, text) for text in topic.parts]
    speaker.asides += [part for part in parts if any(char.isdigit() for char in part)]
    told = [sentence(part) for part in (parts if speaker.chance(0.7) else parts[:2])]
    in_voice = speaker.chance(speaker.manner.lore)
    if in_voice and speaker.chance(0.6):
        told[0] = sentence(f"{speaker.say('lore_lead')}: {parts[0]}")
        in_voice = speaker.chance(0.4)
    scene.chat.answer(join(*told, speaker.tell("lore") if in_voice else ""))
    return f"{scene.slot.scenario}/{topic.key}"


def off_topic(scene: Scene) -> str:
    """Turned down kindly, with weather on offer."""
    speaker = scene.speaker
    said = scene.rng.choice(_side(scene, "offtopic"))
    scene.chat.user(noisy(scene.rng, expand(scene.rng, said.text)))
    scene.chat.answer(join(speaker.tell("decline"), speaker.tell("decline_offer")))
    return f"{scene.slot.scenario}/{said.text}"
