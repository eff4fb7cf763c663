"""Batched generation with a shared prefix gives what each prompt gives alone."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from transformers import AutoModelForCausalLM

from weatherman.engine.prompts import common_prefix_length
from weatherman.engine.torch.generate import generate

NO_STOP = [599]


@pytest.fixture(scope="module")
def model(tiny_source: Path) -> torch.nn.Module:
    return AutoModelForCausalLM.from_pretrained(tiny_source / "model").eval()


def alone(model: torch.nn.Module, prompt: list[int], num_tokens: int) -> list[int]:
    ids = list(prompt)
    for _ in range(num_tokens):
        with torch.no_grad():
            ids.append(int(model(torch.tensor([ids])).logits[0, -1].argmax()))
    return ids[len(prompt) :]


@pytest.mark.parametrize("num_shared", [0, 5, 40])
def test_rows_do_not_disturb_each_other(model: torch.nn.Module, num_shared: int) -> None:
    prefix = [10 + place % 400 for place in range(num_shared)]
    prompts = [prefix + list(range(20 + 7 * row, 20 + 7 * row + row + 1)) for row in range(5)]
    with torch.no_grad():
        together = generate(model, prompts, 12, NO_STOP)
    assert together == [alone(model, prompt, 12) for prompt in prompts]


def test_generation_ends_before_the_stop_token(model: torch.nn.Module) -> None:
    prompt = list(range(30, 60))
    free = alone(model, prompt, 6)
    with torch.no_grad():
        [stopped] = generate(model, [prompt], 6, [free[3]])
    assert stopped == free[: free.index(free[3])]


@pytest.mark.parametrize(
    ("prompts", "length"),
    [([[1, 2, 3], [1, 2, 4]], 2), ([[1, 2], [1, 2]], 1), ([[5], [6]], 0), ([[1, 2, 3, 4], [1, 2]], 1)],
)
def test_every_prompt_keeps_a_token_of_its_own(prompts: list[list[int]], length: int) -> None:
    assert common_prefix_length(prompts) == length
