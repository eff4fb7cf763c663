"""A model that answers: the adapter merged or attached gives the same text, and what was computed is not computed again."""

from __future__ import annotations

from typing import Any

import pytest

from adapters_for_tests import random_adapter, tiny_model
from weatherman.engine.torch.talk import TorchTalker, Use
from weatherman.models.adapter import AdapterPlace, find_adapter

STOP = 2
PROMPT = [*range(100, 160)]
NUM_NEW = 12


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> AdapterPlace:
    root = tmp_path_factory.mktemp("talk")
    return find_adapter(random_adapter(root / "adapter", str(tiny_model(root / "base")), strength=0.5))


def talker(place: AdapterPlace, use: Use) -> tuple[TorchTalker, list[int]]:
    """The talker, and how many tokens each pass through its model computes."""
    made = TorchTalker(place, [STOP], "cpu", use=use)
    widths: list[int] = []

    def note(module: Any, positional: tuple[Any, ...], named: dict[str, Any]) -> None:
        widths.append(named["input_ids"].shape[1])

    inner = made._model if use == "adapter" else made._model.get_base_model()
    inner.model.register_forward_pre_hook(note, with_kwargs=True)
    return made, widths


def say(made: TorchTalker, prompt: list[int], *, adapter: bool = True) -> list[int]:
    return made.generate(prompt, NUM_NEW, lambda _: None, adapter=adapter)


def test_merged_and_attached_say_the_same(place: AdapterPlace) -> None:
    merged, both = talker(place, "adapter")[0], talker(place, "both")[0]
    assert not any("lora" in name for name, _ in merged._model.named_modules())
    said = say(both, PROMPT)
    assert say(merged, PROMPT) == said != say(both, PROMPT, adapter=False)
    assert say(talker(place, "base")[0], PROMPT, adapter=False) == say(both, PROMPT, adapter=False)
    with pytest.raises(ValueError, match="made for adapter"):
        say(merged, PROMPT, adapter=False)


def test_a_further_round_pays_only_for_what_is_new(place: AdapterPlace) -> None:
    made, widths = talker(place, "adapter")
    prompt = list(PROMPT)
    for new in ([200, 201, 202], [300], [400, 401]):
        prompt = [*prompt, *say(made, prompt), *new]
        del widths[:]
        said = say(made, prompt)
        assert widths[0] <= len(new) + 1, widths
        fresh, _ = talker(place, "adapter")
        assert say(fresh, prompt) == said


def test_a_prompt_that_turns_off_earlier_is_computed_from_there(place: AdapterPlace) -> None:
    made, widths = talker(place, "both")
    say(made, PROMPT)
    other = [*PROMPT[:40], 7, 8, 9]
    del widths[:]
    said = say(made, other)
    assert widths[0] == 3
    assert said == say(talker(place, "both")[0], other)
    del widths[:]
    base = say(made, other, adapter=False)  # the adapter's keys and values are not the base's
    assert widths[0] == len(other)
    assert base == say(talker(place, "both")[0], other, adapter=False)
    assert say(made, other) == said


def test_an_interrupted_answer_leaves_nothing_half_computed(place: AdapterPlace) -> None:
    made, _ = talker(place, "adapter")
    said = say(made, PROMPT)

    def interrupt(_: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        made.generate(PROMPT, NUM_NEW, interrupt)
    assert say(made, PROMPT) == said
