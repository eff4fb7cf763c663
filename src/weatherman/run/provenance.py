"""Where a run comes from: what it was started with, what may not change under it, and on which machine it runs."""

from __future__ import annotations

import os
import platform
import subprocess
import sys
from dataclasses import asdict
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from weatherman import __version__, messages
from weatherman.checkpoints.state import horizon_problem
from weatherman.config.schema import TrainingConfig, resolved
from weatherman.engine.base import EngineInfo
from weatherman.errors import Problems, WeathermanError
from weatherman.run.training_data import DataIdentity, TrainingData
from weatherman.system.atomic import read_json_object

PACKAGES = ("torch", "transformers", "peft", "safetensors", "tokenizers", "numpy", "mlx", "mlx-lm")
# Keys that do not touch the adapter; all others are frozen by the first checkpoint.
MAY_CHANGE = frozenset(
    [
        "train_file",
        "validation_file",
        "max_eval_examples",
        "per_device_eval_batch_size",
        "output_dir",
        "run_name",
        "save_steps",
        "save_total_limit",
        "logging_steps",
        "eval_steps",
        "report_to",
        "project_name",
        "sample_prompts",
        "num_tool_eval_prompts",
        "hourly_rate",
        "num_threads",
        "max_tokens_per_chunk",
        "sharing",
        "platform",
        "engine",
    ]
)
MAX_BYTES = 2**22  # of run.json
_ENGINE_FACTS = ("sharing", "attention", "num_threads", "max_tokens_per_chunk", "device", "dtype")


def frozen_facts(config: TrainingConfig, data: TrainingData, info: EngineInfo) -> dict[str, Any]:
    """What bit-identity of a resumed run needs: kept in every checkpoint and in `run.json`."""
    settings = {key: value for key, value in resolved(config).items() if key not in MAY_CHANGE}
    return {
        "config": settings,
        "data": data.train_hash,
        "template": data.template.hash,
        "template_date": data.template.date,
        "tokenizer": data.tokenizer.hash,
        "engine": {"name": _engine_name(info), **{name: getattr(info, name) for name in _ENGINE_FACTS}},
        "versions": package_versions(),
    }


def recorded_horizon(run_file: Path, run_id: str, frozen: dict[str, Any]) -> dict[str, int] | None:
    """The end that a budget settled for this very run, if `run.json` knows one that no checkpoint has yet."""
    try:
        known = read_json_object(run_file, MAX_BYTES)
        same = known["run_id"] == run_id and known["frozen"] == {**frozen, "horizon": known["frozen"]["horizon"]}
        return known["frozen"]["horizon"] if same and not horizon_problem(known["frozen"]) else None
    except (OSError, ValueError, KeyError, TypeError):
        return None


def refuse_changes(frozen: dict[str, Any], config: TrainingConfig, data: DataIdentity, output_dir: Path) -> None:
    """Refuse to go on with a run whose configuration, data, template or tokenizer is not what it began with.

    Args:
        frozen: `frozen_facts` of the run's last checkpoint.
        config: today's configuration.
        data: today's data; what of it is empty is not compared.
        output_dir: the run's folder, for messages.

    Raises:
        Problems: every change by name, with both values.
    """
    now = {key: value for key, value in resolved(config).items() if key not in MAY_CHANGE}
    began = {**resolved(TrainingConfig()), **frozen["config"]}  # a key that is newer than the run had its default
    found = [
        WeathermanError("resume.changed", f"{key} was {_shown(began[key])} and is now {_shown(now[key])}.")
        for key in now
        if began[key] != now[key]
    ]
    for name, what, value in (
        ("data", f"the content of {config.train_file}", data.train),
        ("template", "the chat template", data.template),
        ("tokenizer", "the tokenizer", data.tokenizer),
    ):
        if value and frozen[name] != value:
            text = f"{what} has changed (SHA-256 {str(frozen[name])[:12]}, now {value[:12]})."
            found.append(WeathermanError("resume.changed", text))
    if found:
        raise Problems(
            "resume.changed",
            list(found),
            f"{output_dir} cannot go on with other settings than it began with. "
            "Hint: put them back, or begin a new run: --new-run, or --set output_dir=FOLDER",
        )


def apply_frozen(config: TrainingConfig, frozen: dict[str, Any]) -> TrainingConfig:
    """The configuration with what the first attempt decided by itself: threads, token budget (unless a smaller one is
    asked for), sharing.
    """
    engine = frozen["engine"]
    began, wanted = engine["max_tokens_per_chunk"], config.max_tokens_per_chunk
    if wanted and began and wanted < began:
        messages.warning(
            f"this run began with passes of {began:,} tokens and goes on with {wanted:,}; its last digits will differ "
            "from an uninterrupted run's."
        )
        began = wanted
    changes = {
        "num_threads": engine["num_threads"],
        "max_tokens_per_chunk": began,
        "sharing": "on" if engine["sharing"] else "off",
    }
    return config.model_copy(update=changes)


def warn_of_differences(frozen: dict[str, Any], info: EngineInfo) -> None:
    """Say where this machine or its packages differ from those that the run began with."""
    began = frozen["engine"].get("name", "torch")  # a run that is older than the second engine
    if began != (now := _engine_name(info)):
        messages.warning(
            f"this run began with the engine {began} and goes on with {now}: optimizer and adapter are taken over, and "
            "its last digits will differ from an uninterrupted run's."
        )
    for name in ("device", "dtype", "attention"):
        if frozen["engine"].get(name) != getattr(info, name):
            messages.warning(
                f"this run began with {name} {frozen['engine'].get(name)} and goes on with {getattr(info, name)}; "
                "its last digits will differ from an uninterrupted run's."
            )
    versions = package_versions()
    changed = [
        f"{name} {old} -> {versions.get(name)}" for name, old in frozen["versions"].items() if versions.get(name) != old
    ]
    if changed:
        messages.warning(
            f"packages have changed since this run began: {', '.join(changed)}; its last digits may differ."
        )


def _engine_name(info: EngineInfo) -> str:
    return info.backend.split()[0]


def provenance(config: TrainingConfig, overrides: list[str], run_id: str, info: EngineInfo) -> dict[str, Any]:
    """What `run.json` tells people besides the frozen facts."""
    return {
        "format_version": 1,
        "run_id": run_id,
        "weatherman": __version__,
        "config": resolved(config),
        "overrides": overrides,
        "engine": asdict(info),
        "hardware": hardware(info),
        "python": platform.python_version(),
        "git_commit": git_commit(),
        "argv": sys.argv[1:],
    }


def hardware(info: EngineInfo) -> dict[str, Any]:
    """The machine in a few facts."""
    return {
        "device": info.device_name,
        "system": platform.platform(),
        "num_cpus": os.cpu_count(),
        "memory_bytes": os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"),
    }


def package_versions() -> dict[str, str]:
    """Installed versions of what decides the numbers; a missing package is left out."""
    found = {}
    for name in PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


def git_commit() -> str | None:
    """The commit of the source tree that runs, with ``-dirty`` if it was changed; None without git."""
    folder = Path(__file__).parent
    try:
        command = ["git", "-C", str(folder), "describe", "--always", "--dirty", "--abbrev=40", "--exclude", "*"]
        result = subprocess.run(command, capture_output=True, text=True, check=False, timeout=10)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return result.stdout.strip() or None


def _shown(value: Any) -> str:
    text = str(value)
    return text if len(text) <= 80 else text[:80] + " …"
