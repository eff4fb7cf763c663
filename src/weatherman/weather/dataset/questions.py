"""The users: what they type, how politely, and how carelessly."""

from __future__ import annotations

from random import Random

from weatherman.weather.dataset.situation import Situation
from weatherman.weather.dataset.speech import Speaker

_GREETINGS = ("Hi!", "Hello,", "Hey,", "Good day.", "Hey there,", "Morning!", "Excuse me,", "OK,", "Right,", "So,")
_TAILS = (
    "Thanks!", "thanks", "Thank you in advance.", "Cheers.", "please", "I'm in a hurry.", "No rush.", "Be honest.",
    "Keep it short.", "Asking for a friend.", "Much obliged.", "and no jokes about my hat", "ta",
)  # fmt: skip
_KEYS = {"a": "s", "e": "r", "i": "o", "o": "p", "t": "y", "n": "m", "s": "d", "h": "j", "r": "t", "l": "k"}


def ask(speaker: Speaker, kind: str, tag: str = "any", **values: str) -> str:
    """A user's question of a kind (a file of voices/user), about `tag`, with everyday noise."""
    text = speaker.draw("user", kind, Situation(frozenset({tag})), **values)
    return noisy(speaker.rng, text, frozenset(values.values()))


def noisy(rng: Random, text: str, keep: frozenset[str] = frozenset()) -> str:
    """Greetings and thanks now and then, capitals or none, and sparing typing errors outside the words of `keep`."""
    text = text if rng.random() < 0.45 else text[0].upper() + text[1:]
    if rng.random() < 0.07:
        text = f"{rng.choice(_GREETINGS)} {text}"
    if rng.random() < 0.09:
        text = f"{text if text[-1] in '.?!' else text + '.'} {rng.choice(_TAILS)}"
    if rng.random() < 0.1:
        text = text.rstrip("?.!")
    if rng.random() < 0.06:
        text = _mistype(rng, text, keep)
    if rng.random() < 0.05:
        text = text.lower()
    return text


def _mistype(rng: Random, text: str, keep: frozenset[str]) -> str:
    """One slip of the fingers: a neighbouring key, a doubled, a dropped or a swapped letter."""
    kept = {word for value in keep for word in value.split()}
    words = text.split(" ")
    long = [i for i, word in enumerate(words) if len(word) > 4 and word.isalpha() and word not in kept]
    if not long:
        return text
    index = rng.choice(long)
    word, at = words[index], rng.randint(1, len(words[index]) - 2)
    slips = (
        word[:at] + _KEYS.get(word[at], word[at]) + word[at + 1 :],
        word[:at] + word[at] + word[at:],
        word[:at] + word[at + 1 :],
        word[:at] + word[at + 1] + word[at] + word[at + 2 :],
    )
    words[index] = rng.choice(slips)
    return " ".join(words)
