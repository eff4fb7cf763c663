"""Lengths, masks and shared prefixes, as each template and its tokenizer see a data set."""

from __future__ import annotations

import importlib.util
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from weatherman.errors import WeathermanError
from weatherman.records import Conversation, Rendered
from weatherman.rendering.render import render_each
from weatherman.rendering.template import Template
from weatherman.rendering.tokenizer import SentencePieceTokenizer, TextTokenizer
from weatherman.steps.prefix_tree import MIN_SHARED_TOKENS, build_tree
from weatherman.steps.sampling import step_plans, steps_per_epoch

MAX_TOKENS = 1024
STEP_EXAMPLES = 16
_SAMPLED_STEPS = 12
_MISTRAL_FILE = "data/mistral_instruct_tokenizer_240323.model.v3"


@dataclass(frozen=True, slots=True)
class RenderedSet:
    """Examples of a set, the lengths of its conversations (the longest view of each), and rows that failed."""

    examples: list[Rendered]
    lengths: list[int]
    problems: list[str]


def mistral_tokenizer() -> TextTokenizer:
    """Mistral's own tokenizer, from the mistral-common package.

    Raises:
        WeathermanError: that package, or sentencepiece, is not installed.
    """
    spec = importlib.util.find_spec("mistral_common")
    places = list(spec.submodule_search_locations or []) if spec else []
    if not places:
        hint = "pip install mistral-common sentencepiece"
        raise WeathermanError("data.no-mistral", "mistral-common, which carries Mistral's tokenizer, is missing.", hint)
    return SentencePieceTokenizer(Path(places[0]) / _MISTRAL_FILE)


def render_set(conversations: Sequence[Conversation], template: Template, tokenizer: TextTokenizer) -> RenderedSet:
    """Render every conversation; its mask is proven there, turn by turn.

    Args:
        conversations: the set.
        template: the chat template.
        tokenizer: its tokenizer, or a rough one where only form matters.
    """
    examples: list[Rendered] = []
    lengths: list[int] = []
    problems: list[str] = []
    for rendered in render_each(conversations, template, tokenizer):
        if isinstance(rendered, WeathermanError):
            problems.append(str(rendered))
        elif rendered:
            lengths.append(max(len(view.ids) for view in rendered))
            examples += rendered
    return RenderedSet(examples, lengths, problems)


def step_tokens(examples: Sequence[Rendered], seed: int) -> tuple[float, float]:
    """Tokens of a step of `STEP_EXAMPLES` examples, without and with prefix sharing, on average over some steps.

    Args:
        examples: the training set.
        seed: decides what meets in a step.
    """
    num_steps = steps_per_epoch(len(examples), STEP_EXAMPLES)
    before = after = 0
    steps = np.unique(np.linspace(1, num_steps, min(num_steps, _SAMPLED_STEPS)).astype(int))
    for step in steps:
        (plan,) = step_plans(examples, batch_size=STEP_EXAMPLES, seed=seed, first_step=int(step), last_step=int(step))
        tree = build_tree(plan.examples, min_shared_tokens=MIN_SHARED_TOKENS)
        before, after = before + tree.num_effective_tokens, after + tree.num_computed_tokens
    return before / len(steps), after / len(steps)
