"""What a run will take, before it runs: tokens, steps, memory, hours and dollars, with every assumption named."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from weatherman.config.schema import TrainingConfig, resolved
from weatherman.data.changes import Changes
from weatherman.data.reading import Reading
from weatherman.engine.token_budget import HELD_PASSES, activation_bytes_per_token, choose_workers, token_budget
from weatherman.errors import WeathermanError
from weatherman.models.adapter import template_choice
from weatherman.models.base_model import DEMO_MODEL, cache_folder, model_folder
from weatherman.models.shape import ModelShape, model_shape
from weatherman.planning.budget import estimated_words
from weatherman.planning.limits import memory_limit
from weatherman.planning.memory import Held, Memory, held_by_padding, held_by_tree, merges_weights
from weatherman.planning.mlx_memory import engine_words, peak_memory, uses_mlx, weight_bytes
from weatherman.planning.time import dtype_bytes, estimate_time, run_device
from weatherman.records import Rendered, count_conversations
from weatherman.rendering.choose import template_of_model
from weatherman.rendering.render_file import render_file
from weatherman.rendering.rough_tokenizer import RoughTokenizer
from weatherman.rendering.templates import MISTRAL_V3, SMOLLM2
from weatherman.rendering.tokenizer import TextTokenizer, load_tokenizer
from weatherman.steps.prefix_tree import MIN_SHARED_TOKENS, SHARES_NOTHING, build_tree, decide_sharing
from weatherman.steps.sampling import num_conversations, split, step_plans, subset_of_conversations, total_steps

HOURLY_RATES = (2.0, 3.0)
_SAMPLED_STEPS = 8


@dataclass(frozen=True, slots=True)
class Plan:
    """A run's plan. Sizes in bytes, times in seconds; a range is (low, high).

    `budget` says what a budget of minutes or dollars will probably do; None without one.
    `tokens_are` is "counted" with the model's tokenizer, or "estimated" from the text where that is not there.
    """

    model: str
    device: str
    tokens_are: str
    num_conversations: int
    num_examples: int
    num_dropped: int
    num_tokens: int
    num_supervised_tokens: int
    num_steps: int
    batch_size: int
    num_epochs: float
    sharing: bool
    share_factor: float
    num_computed_tokens: int
    max_tokens_per_chunk: int | None
    memory: Memory
    memory_limit_bytes: int
    time_s: tuple[float, float]
    hourly_rate: tuple[float, float] | None
    budget: str | None = None
    assumptions: list[str] = field(default_factory=list)

    @property
    def fits(self) -> bool:
        """Whether the estimated peak is within the limit."""
        return self.memory.total <= self.memory_limit_bytes

    @property
    def cost(self) -> tuple[float, float] | None:
        """Dollars: rate x hours."""
        if self.hourly_rate is None:
            return None
        return self.hourly_rate[0] * self.time_s[0] / 3600, self.hourly_rate[1] * self.time_s[1] / 3600

    def to_json(self) -> dict[str, Any]:
        """The plan as plain JSON values."""
        memory = {**asdict(self.memory), "total": self.memory.total}
        return {**asdict(self), "memory": memory, "fits": self.fits, "cost": self.cost}


def require_shape(config: TrainingConfig) -> ModelShape:
    """The base model's shape.

    Raises:
        WeathermanError: it is not known here.
    """
    shape = model_shape(config.model_name_or_path)
    if shape is None:
        text = f"the shape of {config.model_name_or_path} is not known: its config.json is not on this machine."
        raise WeathermanError("plan.model", text, "fetch its config.json first: hf download MODEL config.json")
    return shape


def chunk_tokens(config: TrainingConfig, shape: ModelShape, limit_bytes: int) -> int:
    """Tokens of a pass: the configuration's, else what the engine will choose on an otherwise empty device."""
    if config.max_tokens_per_chunk:
        return config.max_tokens_per_chunk
    per_token = activation_bytes_per_token(
        hidden_size=shape.hidden,
        intermediate_size=shape.intermediate,
        num_layers=shape.num_layers,
        bytes_per_float=dtype_bytes(config),
        checkpointing=config.recomputes,
    )
    return token_budget(run_device(config), limit_bytes - weight_bytes(config, shape), per_token)


def plan_workers(config: TrainingConfig, budget: int) -> int:
    """How many branches the engine will compute side by side."""
    if uses_mlx(config):
        return 1
    return choose_workers(
        merges=merges_weights(config, run_device(config), dtype_bytes(config)),
        checkpointing=config.recomputes,
        budget=budget,
        num_threads=config.num_threads or _num_cpus(),
    )


def run_memory(config: TrainingConfig, limit_bytes: int) -> Memory:
    """The peak of a run on its real data: what `make_plan` says of it, without the rest.

    Args:
        config: the configuration.
        limit_bytes: what may be used; an engine that chooses its passes by itself goes by that.

    Raises:
        WeathermanError: the data cannot be read, or the model's shape is not known.
    """
    require_shape(config)
    examples, *_ = read_examples(config)
    batch = config.effective_batch_size
    num_steps = total_steps(num_conversations(examples), batch, config.num_train_epochs, config.max_steps)
    share, _ = decide_sharing(examples, batch, config.seed)
    sharing = share if config.sharing == "auto" else config.sharing == "on"
    return _steps_memory(config, examples, num_steps, sharing, limit_bytes)[0]


def _steps_memory(
    config: TrainingConfig, examples: list[Rendered], num_steps: int, sharing: bool, limit_bytes: int
) -> tuple[Memory, float]:
    """The peak over a few steps, and computed tokens per trained one."""
    shape = require_shape(config)
    budget = chunk_tokens(config, shape, limit_bytes)
    moments, computed_per_effective = _sample_steps(config, examples, num_steps, sharing, budget)
    memories = [peak_memory(config, shape, held) for held in moments]
    return max(memories, key=lambda memory: memory.total), computed_per_effective


def make_plan(config: TrainingConfig, *, device_bytes: int | None = None, chip: str | None = None) -> Plan:
    """Plan a run from its real data.

    Args:
        config: the configuration.
        device_bytes: the memory of the device that is there; None plans for the platform's own.
        chip: a Mac's processor, as macOS names it; None plans for an M4.

    Returns:
        The plan, whether it fits or not.

    Raises:
        WeathermanError: the data cannot be read, or the model's shape is not known.
    """
    shape, limit = require_shape(config), memory_limit(config, device_bytes)
    examples, num_dropped, assumptions, changed = read_examples(config)
    batch = config.effective_batch_size
    num_steps = total_steps(num_conversations(examples), batch, config.num_train_epochs, config.max_steps)
    share, factor = decide_sharing(examples, batch, config.seed)
    sharing = share if config.sharing == "auto" else config.sharing == "on"
    memory, computed_per_effective = _steps_memory(config, examples, num_steps, sharing, limit)
    num_tokens = sum(len(example.ids) for example in examples)
    num_epochs = num_steps * batch / num_conversations(examples)
    num_computed = int(num_tokens * num_epochs * computed_per_effective)
    time_s, speed = estimate_time(config, shape, num_computed, chip)
    return Plan(
        model=config.model_name_or_path,
        device=run_device(config),
        tokens_are="estimated" if assumptions else "counted",
        num_conversations=count_conversations(examples),
        num_examples=len(examples),
        num_dropped=num_dropped,
        num_tokens=num_tokens,
        num_supervised_tokens=sum(example.num_supervised_tokens for example in examples),
        num_steps=num_steps,
        batch_size=batch,
        num_epochs=num_epochs,
        sharing=sharing,
        share_factor=factor,
        num_computed_tokens=num_computed,
        max_tokens_per_chunk=chunk_tokens(config, shape, limit) if sharing else None,
        memory=memory,
        memory_limit_bytes=limit,
        time_s=time_s,
        hourly_rate=_rates(config),
        budget=estimated_words(config, num_steps, time_s),
        assumptions=[
            *assumptions,
            *([f"train_file is changed where it is read: {'; '.join(changed)}"] if changed else []),
            *engine_words(config),
            *speed,
            "validation, tool-call evaluation and loading the model are not counted",
        ],
    )


def read_examples(config: TrainingConfig) -> tuple[list[Rendered], int, list[str], list[str]]:
    """The training examples, with the model's tokenizer if it is on this machine (nothing is fetched).

    Returns:
        The examples, how many conversations are too long, what was assumed about tokens (nothing if counted), and in
        words what was changed to read them.
    """
    tokenizer, assumptions, place = find_tokenizer(config)
    if isinstance(tokenizer, RoughTokenizer):
        name = config.chat_template
        template = SMOLLM2 if name == "smollm2" or config.model_name_or_path == DEMO_MODEL else MISTRAL_V3
    else:
        template = template_of_model(template_choice(resolved(config), {}), place, config.model_revision, tokenizer)
    rendered = render_file(
        Path(config.train_file),
        template,
        tokenizer,
        max_seq_length=config.max_seq_length,
        too_long=config.too_long,
        personas=config.personas,
        reading=Reading(config.data_format, config.train_on),
        text_beside_calls=config.text_beside_calls,
        cache_folder=cache_folder() / "rendered",
    )
    train = split(rendered.examples, config.validation_share if config.validation_file is None else 0, config.seed)[0]
    chosen = subset_of_conversations(train, config.max_train_examples, config.seed)
    return chosen, len(rendered.dropped), assumptions, Changes(rendered.changes).in_words()


def find_tokenizer(config: TrainingConfig) -> tuple[TextTokenizer, list[str], Path | str]:
    """The model's tokenizer if it is here, else a rough one; in words what that means; and where the model is."""
    place = model_folder(config.model_name_or_path)
    if isinstance(place, Path):
        return load_tokenizer(place), [], place
    from huggingface_hub import try_to_load_from_cache

    cached = try_to_load_from_cache(place, "tokenizer.json", revision=config.model_revision)
    if isinstance(cached, str):
        return load_tokenizer(Path(cached).parent), [], Path(cached).parent
    text = f"the tokenizer of {place} is not on this machine: tokens are estimated from the text's words"
    return RoughTokenizer(), [text], place


def _sample_steps(
    config: TrainingConfig, examples: list[Rendered], num_steps: int, sharing: bool, budget: int
) -> tuple[list[Held], float]:
    """The worst moments of a few steps and of one with the longest examples; computed tokens per trained one."""
    batch, num_effective, num_computed = config.effective_batch_size, 0, 0
    longest = sorted(examples, key=lambda example: len(example.ids))[-batch:]
    moments = [held_by_step(config, longest, sharing, budget)[0]]
    for step in np.unique(np.linspace(1, num_steps, min(num_steps, _SAMPLED_STEPS)).astype(int)):
        (plan,) = step_plans(examples, batch_size=batch, seed=config.seed, first_step=int(step), last_step=int(step))
        held, computed = held_by_step(config, plan.examples, sharing, budget)
        moments.append(held)
        num_effective += plan.num_effective_tokens
        num_computed += computed
    return moments, num_computed / max(1, num_effective)


def held_by_step(config: TrainingConfig, step: Sequence[Rendered], sharing: bool, budget: int) -> tuple[Held, int]:
    """The worst moment of a step, and the tokens that it computes."""
    if sharing or uses_mlx(config):
        num_workers = plan_workers(config, budget)
        each = budget // num_workers
        least = MIN_SHARED_TOKENS if sharing else SHARES_NOTHING
        tree = build_tree(step, min_shared_tokens=least, max_segment_tokens=each)
        most = 0 if uses_mlx(config) else None if config.recomputes else HELD_PASSES * each
        return held_by_tree(tree, each, most, num_workers), tree.num_computed_tokens
    size = config.per_device_train_batch_size
    rows = [step[begin : begin + size] for begin in range(0, len(step), size)]
    moments = [
        held_by_padding([len(one.ids) for one in some], sum(one.num_supervised_tokens for one in some)) for some in rows
    ]
    return max(moments, key=lambda held: held.tokens), sum(moment.tokens for moment in moments)


def _rates(config: TrainingConfig) -> tuple[float, float] | None:
    if config.hourly_rate is not None:
        return config.hourly_rate, config.hourly_rate
    return HOURLY_RATES if config.platform == "h100" else None


def _num_cpus() -> int:
    """The CPUs that this process may use, where the system tells."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
