"""Scenarios without tools: weather lore, small talk, and what is not about weather."""

from __future__ import annotations

from weatherman.data.split import is_held_out
from weatherman.data.synth.lore import topics
from weatherman.data.synth.questions import noisy
from weatherman.data.synth.scene import Scene
from weatherman.data.synth.speech import join, sentence
from weatherman.data.synth.voices import Fragment, bank, expand

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
    first = sentence(speaker.open(speaker.say("smalltalk")))
    scene.chat.answer(join(first, sentence(f"{speaker.say('smalltalk')}; {speaker.say('decline_offer')}")))
    return f"{scene.slot.scenario}/smalltalk: {said.text}"


def _lore(scene: Scene) -> str:
    speaker, rng = scene.speaker, scene.rng
    topic = rng.choice(
        [one for one in topics() if is_held_out("lore", one.key, scene.seed) == scene.slot.held_out] or topics()
    )
    scene.chat.user(noisy(rng, expand(rng, rng.choice(topic.questions))))
    parts = [expand(rng, text) for text in topic.parts]
    speaker.asides += [part for part in parts if any(char.isdigit() for char in part)]
    remark = speaker.say("lore")
    form = rng.choice(("opener", "remark first", "remark between"))
    if form == "opener":
        sentences = [speaker.open(parts[0]), parts[1], f"{remark}; {speaker.say('closer')}"]
    elif form == "remark first":
        sentences = [f"{remark}: {parts[0]}", speaker.open(parts[1]), speaker.say("closer")]
    else:
        sentences = [speaker.open(parts[0]), f"{remark}; {parts[1]}", speaker.say("lore")]
    if len(parts) > 2 and speaker.chance(0.6):
        sentences.insert(2, parts[2])
    scene.chat.answer(join(*(sentence(text) for text in sentences)))
    return f"{scene.slot.scenario}/{topic.key}"


def off_topic(scene: Scene) -> str:
    """Turned down kindly, with weather on offer."""
    speaker = scene.speaker
    said = scene.rng.choice(_side(scene, "offtopic"))
    scene.chat.user(noisy(scene.rng, expand(scene.rng, said.text)))
    no, offer = speaker.say("decline"), speaker.say("decline_offer")
    if speaker.chance(0.7):
        last = offer if speaker.chance(0.5) else f"{offer}; {speaker.say('closer')}"
        scene.chat.answer(join(sentence(speaker.open(no)), sentence(last)))
    else:
        scene.chat.answer(join(sentence(f"{no}; {offer}"), sentence(speaker.say("closer"))))
    return f"{scene.slot.scenario}/{said.text}"
