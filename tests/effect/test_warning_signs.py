from __future__ import annotations

import pytest

from weatherman.effect.effect import Effect
from weatherman.effect.evaluation import ToolScore
from weatherman.effect.warning_signs import warning_signs


def effect(loss: float, num_valid: int = 0, num_prompts: int = 20) -> Effect:
    return Effect(loss, ToolScore(num_prompts, num_valid, 0), ())


@pytest.mark.parametrize(
    ("before", "after", "words"),
    [
        (effect(2.0, 0), effect(1.3, 18), []),
        (effect(2.0, 0), effect(1.99, 18), ["the validation loss did not move (2.0000 before, 1.9900 after)"]),
        (effect(2.0, 0), effect(1.97, 18), []),
        (effect(2.0, 0), effect(2.5, 18), ["the validation loss rose"]),
        (effect(0.01, 20), effect(0.01, 20), []),
        (effect(2.0, 0), effect(1.3, 0), ["no valid tool call on 20 held-out prompts"]),
        (effect(2.0, 5), effect(1.3, 3), ["fewer valid tool calls than before (3 of 20, it was 5)"]),
        (effect(2.0, 0, 0), effect(1.3, 0, 0), []),
        (effect(2.0, 2), effect(2.0, 0), ["did not move", "fewer valid tool calls"]),
    ],
)
def test_signs(before: Effect, after: Effect, words: list[str]) -> None:
    found = warning_signs(before, after)
    assert len(found) == len(words)
    for sign, word in zip(found, words, strict=True):
        assert word in sign
