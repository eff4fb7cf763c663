"""How long it takes to render conversations and to build the prefix trees of all their steps."""

from __future__ import annotations

import time
from itertools import chain, islice
from pathlib import Path
from typing import Any

from benchmarks.jobs import STEP_EXAMPLES
from weatherman.config.schema import TrainingConfig
from weatherman.data.read import read_conversations
from weatherman.models.base_model import model_folder
from weatherman.rendering.render import render_all
from weatherman.rendering.templates import choose_template
from weatherman.rendering.tokenizer import load_tokenizer
from weatherman.steps.prefix_tree import MIN_SHARED_TOKENS, build_tree
from weatherman.steps.sampling import num_conversations, step_plans, steps_per_epoch


def measure_preparation(config: TrainingConfig, rows: int, clock: str) -> dict[str, Any]:
    """Render the first `rows` conversations without a cache, and build an epoch's trees.

    Args:
        config: names the data and the tokenizer.
        rows: conversations, of the training file and then the validation file.
        clock: "wall" or "cpu".

    Returns:
        Counts and seconds; reading and checking the file is part of rendering.
    """
    tokenizer = load_tokenizer(model_folder(config.model_name_or_path), config.model_revision)
    template = choose_template(config.chat_template, tokenizer.has)
    files = [Path(config.train_file), Path(config.validation_file)]
    now = {"wall": time.perf_counter, "cpu": time.process_time}[clock]
    began_s = now()
    conversations = islice(chain.from_iterable(read_conversations(path) for path in files), rows)
    rendered = list(render_all(conversations, template, tokenizer))
    rendered_s = now()
    examples = [view for views in rendered for view in views]
    steps = steps_per_epoch(num_conversations(examples), STEP_EXAMPLES)
    effective = computed = 0
    for plan in step_plans(examples, batch_size=STEP_EXAMPLES, seed=config.seed, first_step=1, last_step=steps):
        tree = build_tree(plan.examples, min_shared_tokens=MIN_SHARED_TOKENS)
        effective += tree.num_effective_tokens
        computed += tree.num_computed_tokens
    return {
        "rows": len(rendered),
        "render_s": rendered_s - began_s,
        "trees_s": now() - rendered_s,
        "steps": steps,
        "effective_tokens": effective,
        "computed_tokens": computed,
    }
