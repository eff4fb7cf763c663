"""The configuration: its values, its data files, and whether it fits in memory."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from weatherman.errors import Problems, WeathermanError
from weatherman.preflight import gpu
from weatherman.preflight.environment import SETUP, installed_version
from weatherman.preflight.finding import Finding, fail, ok, unknown, warn
from weatherman.preflight.target import Platform, Target
from weatherman.preflight.unified_memory import SMALL_CONFIG, memory_bytes

if TYPE_CHECKING:
    from weatherman.config.schema import TrainingConfig

_PLATFORM_OF_CONFIG: dict[str, Platform] = {"h100": "h100", "m4": "m4", "demo": "cpu"}
_NEEDED = ("pydantic", "PyYAML", "numpy")
_NEEDED_FOR_DATA = ("tokenizers", "jsonschema", "huggingface_hub")


def check_config(target: Target) -> Iterator[Finding]:
    """Judge the configuration file, the data it names, and the memory it asks for."""
    if missing := [name for name in _NEEDED if installed_version(name) is None]:
        text = f"{target.config_path} cannot be checked before {', '.join(missing)} is installed"
        yield unknown("config.values", text, f"run {SETUP[target.platform]}")
        return
    from weatherman.config.schema import load_config, recommendations

    try:
        config = load_config(target.config_path, target.overrides)
    except WeathermanError as problem:
        yield from _problems(problem)
        return
    yield ok(
        "config.values",
        f"{target.config_path}: LoRA r={config.lora_r} alpha={config.lora_alpha} dropout={config.lora_dropout:g} on "
        f"{len(config.target_modules)} modules, {config.effective_batch_size} conversations a step, "
        f"learning rate {config.learning_rate:g}",
    )
    for text in recommendations(config):
        yield warn("config.recommended", text.rstrip("."), f"change it in {target.config_path} if it is not on purpose")
    if _PLATFORM_OF_CONFIG[config.platform] != target.platform:
        text = f"{target.config_path} is made for {config.platform}, and this is judged as {target.platform}"
        yield warn("config.platform", text, "give the configuration of this platform with --config")
    yield from check_data(config)
    yield from check_engine(target, config)
    yield check_memory(target, config)


def _problems(problem: WeathermanError) -> Iterator[Finding]:
    for one in problem.problems if isinstance(problem, Problems) else [problem]:
        code = one.code if one.code.startswith("config.") else f"config.{one.code}"
        yield fail(code, one.message.rstrip("."), one.hint or "docs/CONFIG.md explains every key")


def check_data(config: TrainingConfig) -> Iterator[Finding]:
    """The data files are there and not empty; whether each row is valid is told by `weatherman data validate`."""
    for key, name in (("train_file", config.train_file), ("validation_file", config.validation_file)):
        path = Path(name)
        try:
            size = path.stat().st_size if path.is_file() else 0
        except OSError:
            size = 0
        if size:
            yield ok(f"config.{key.replace('_', '-')}", f"{name}: {size / 2**20:.1f} MB")
        else:
            text = f"{key} {name} is missing or empty"
            fix = "check its name, and run the command from the project's folder"
            if "processed" in path.parts:
                fix = "run the command from the project's folder; the set-up links data/processed to data/synthetic"
            yield fail(f"config.{key.replace('_', '-')}", text, fix)


def check_engine(target: Target, config: TrainingConfig) -> Iterator[Finding]:
    """MLX is there where the configuration takes it; whether it computes rightly is proven before the first step."""
    from weatherman.planning.mlx_memory import uses_mlx

    try:
        if not uses_mlx(config):
            return
    except WeathermanError as problem:
        yield fail("config.engine", problem.message.rstrip("."), problem.hint)
        return
    found = {name: installed_version(name) for name in ("mlx", "mlx-lm")}
    base = "16 bits" if config.quantization == "none" else config.quantization.replace("bit", " bits")
    if missing := [name for name, version in found.items() if version is None]:
        text = f"the MLX engine is chosen, and {', '.join(missing)} is not installed"
        yield (unknown if target.rehearse else fail)("config.engine", text, f"run {SETUP[target.platform]}")
    else:
        versions = ", ".join(f"{name} {version}" for name, version in found.items())
        yield ok("config.engine", f"the MLX engine ({versions}), the base in {base}")


def device_bytes(target: Target) -> int | None:
    """The memory of the device that is there; None if there is none of the target's kind."""
    if target.rehearse:
        return None
    if target.platform == "h100":
        gpus = gpu.read_gpus(target.probe)
        return None if isinstance(gpus, str) else gpus[0].total_bytes
    return memory_bytes(target.probe) if target.platform == "m4" else None


def planned(target: Target, config: TrainingConfig) -> TrainingConfig:
    """The configuration that is planned with: a rehearsal runs its small model here, on the processor."""
    return config.model_copy(update={"device": "cpu"}) if target.rehearse else config


def check_memory(target: Target, config: TrainingConfig) -> Finding:
    """The plan's peak against what the platform, or the smaller device that is there, offers.

    The first time takes as long as reading the data does; what was read is kept for the plan and the run.
    """
    if missing := [name for name in _NEEDED_FOR_DATA if installed_version(name) is None]:
        text = f"the memory cannot be estimated before {', '.join(missing)} is installed"
        return unknown("config.memory", text, f"run {SETUP[target.platform]}")
    from weatherman.planning.limits import memory_limit
    from weatherman.planning.plan import run_memory

    limit = memory_limit(config, device_bytes(target))
    try:
        memory = run_memory(planned(target, config), limit)
    except WeathermanError as problem:
        return unknown("config.memory", problem.message.rstrip("."), problem.hint)
    gib = 2**30
    text = (
        f"{memory.total / gib:.1f} GB of memory estimated at its peak, {limit / gib:.0f} GB may be used "
        f"(in GB: weights {memory.weights / gib:.1f}, adapter and optimizer "
        f"{(memory.adapter + memory.optimizer) / gib:.1f}, activations {memory.activations / gib:.1f}, "
        f"logits and runtime {(memory.logits + memory.runtime) / gib:.1f})"
    )
    if memory.total <= limit:
        return ok("config.memory", text)
    if memory.weights > limit - 2 * gib:
        hint = "take a smaller model, or a larger machine"
        if target.platform == "m4":
            hint = f"take {SMALL_CONFIG} (the base in 4 bits), a smaller model, or a larger machine"
        return fail("config.memory", f"the base model does not fit: {text}", hint)
    advice = "lower max_tokens_per_chunk or per_device_train_batch_size, or set gradient_checkpointing: true"
    return fail("config.memory", text, advice)
