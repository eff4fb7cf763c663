"""The shipped data as the GPU comparison trains on it: in Mistral's template, with its tokenizer if that is there."""

from __future__ import annotations

import importlib.util
from collections.abc import Sequence
from itertools import islice
from pathlib import Path

import numpy as np

from benchmarks.jobs import ROOT, STEP_EXAMPLES
from weatherman.data.read import read_conversations
from weatherman.errors import WeathermanError
from weatherman.records import Rendered, StepPlan
from weatherman.rendering.render import render_all
from weatherman.rendering.rough_tokenizer import RoughTokenizer
from weatherman.rendering.templates import MISTRAL_V3
from weatherman.rendering.tokenizer import SentencePieceTokenizer, TextTokenizer
from weatherman.steps.sampling import step_plans

TRAIN_FILE = ROOT / "data" / "synthetic" / "final_train.jsonl"
NUM_ROWS = 1000
TINY_ROWS, TINY_EXAMPLES, TINY_TOKENS = 40, 4, 160
VOCABULARY = 32768
_MISTRAL_FILE = Path("data") / "mistral_instruct_tokenizer_240323.model.v3"


def mistral_tokenizer() -> tuple[TextTokenizer, str]:
    """Mistral's own tokenizer out of the package mistral-common, else one that splits about as finely.

    Returns:
        The tokenizer, and "counted" or "estimated".
    """
    spec = importlib.util.find_spec("mistral_common")
    places = list(spec.submodule_search_locations or []) if spec else []
    if places and (Path(places[0]) / _MISTRAL_FILE).is_file():
        try:
            return SentencePieceTokenizer(Path(places[0]) / _MISTRAL_FILE), "counted"
        except WeathermanError:  # sentencepiece is missing
            pass
    return RoughTokenizer(), "estimated"


def mistral_examples(num_rows: int | None) -> tuple[list[Rendered], str]:
    """The first rows of the training set in Mistral's template; all of them for None."""
    tokenizer, tokens_are = mistral_tokenizer()
    rows = islice(read_conversations(TRAIN_FILE), num_rows)
    views = [view for of_one in render_all(rows, MISTRAL_V3, tokenizer) for view in of_one]
    return [Rendered(_in_vocabulary(view.ids), view.mask, view.source) for view in views], tokens_are


def _in_vocabulary(ids: np.ndarray) -> np.ndarray:
    return (ids % VOCABULARY).astype(np.int32)


def gpu_plans(count: int, *, tiny: bool) -> tuple[list[StepPlan], str]:
    """The steps to measure.

    Args:
        count: how many.
        tiny: few and short examples.

    Returns:
        The steps of 16 examples, and whether their tokens are "counted" or "estimated".
    """
    examples, tokens_are = mistral_examples(TINY_ROWS if tiny else NUM_ROWS)
    if tiny:
        examples = shortened(examples)
    size = TINY_EXAMPLES if tiny else STEP_EXAMPLES
    return list(step_plans(examples, batch_size=size, seed=42, first_step=1, last_step=count)), tokens_are


def shortened(examples: Sequence[Rendered]) -> list[Rendered]:
    """Cut examples short, with their last tokens supervised."""
    mask = np.arange(TINY_TOKENS) >= TINY_TOKENS - 20
    kept = [example for example in examples if len(example.ids) >= TINY_TOKENS]
    return [Rendered(np.concatenate([one.ids[: TINY_TOKENS - 40], one.ids[-40:]]), mask, one.source) for one in kept]
