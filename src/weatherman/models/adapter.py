"""Where a trained adapter is, and which base model, precision and template it was made for. No torch here."""

from __future__ import annotations

import datetime
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from weatherman.errors import WeathermanError
from weatherman.models.base_model import DEMO_MODEL, model_folder
from weatherman.rendering.choose import TemplateChoice, template_of_model
from weatherman.rendering.templates import TEMPLATES, Template
from weatherman.rendering.tokenizer import TextTokenizer, load_tokenizer
from weatherman.system.atomic import read_json_object

ADAPTER_CONFIG = "adapter_config.json"
ADAPTER_WEIGHTS = "adapter_model.safetensors"
ADAPTER_FOLDER = "adapter"
_RUN_FILE = "run.json"
_MAX_BYTES = 2**22


@dataclass(frozen=True, slots=True)
class AdapterPlace:
    """An adapter on disk.

    Attributes:
        folder: holds `adapter_model.safetensors` and `adapter_config.json`.
        base_model: as configs name it: the demo model's name, a local folder, or a hub id.
        revision: of the base model on the hub.
        run: what `run.json` says of the run that made it; empty where there is none.
    """

    folder: Path
    base_model: str
    revision: str | None
    run: dict[str, Any]

    @property
    def config(self) -> dict[str, Any]:
        """The run's resolved configuration; empty where it is not known."""
        found = self.run.get("config")
        return found if isinstance(found, dict) else {}

    @property
    def dtype(self) -> str:
        """The precision that the base model had in training."""
        wanted = str(self.config.get("dtype", "auto"))
        engine = self.run.get("engine")
        return str(engine.get("dtype", wanted)) if isinstance(engine, dict) else wanted

    @property
    def tokenizer_source(self) -> tuple[Path | str, str | None]:
        """Where the tokenizer is, and its revision: beside the adapter, else the base model's."""
        own = (self.folder / "tokenizer.json").is_file()
        return (self.folder, None) if own else (model_folder(self.base_model), self.revision)

    def speech(self) -> tuple[Template, TextTokenizer]:
        """The chat template and the tokenizer that the adapter was trained with.

        Raises:
            WeathermanError: the tokenizer cannot be read, no template fits it, or the template has changed since.
        """
        place, revision = self.tokenizer_source
        own = place == self.folder
        tokenizer = load_tokenizer(place, revision)
        frozen = self.run.get("frozen")
        choice = template_choice(self.config, frozen if isinstance(frozen, dict) else {})
        if own and choice.name not in TEMPLATES:
            choice = replace(choice, name="auto")  # the file that was trained with lies in this folder
        base = (lambda: model_folder(self.base_model)) if own else None
        template = template_of_model(choice, place, self.revision, tokenizer, base)
        trained = frozen.get("template") if isinstance(frozen, dict) else None
        if trained not in (None, template.hash):
            raise WeathermanError(
                "adapter.template",
                f"{self.folder} was trained with another version of the chat template {template.name} "
                f"(SHA-256 {str(trained)[:12]}, now {template.hash[:12]}).",
                f"use weatherman {self.run.get('weatherman', 'of that time')} for it, or train again.",
            )
        return template, tokenizer


def template_choice(config: Mapping[str, Any], frozen: Mapping[str, Any]) -> TemplateChoice:
    """What a resolved configuration says of the template, with the date that its run was frozen with, else today's."""
    return TemplateChoice(
        str(config.get("chat_template", "auto")),
        config.get("template_options") or {},
        config.get("control_tokens", "refuse"),
        str(frozen.get("template_date") or datetime.date.today().isoformat()),
    )


def frozen_facts_of(run_folder: Path) -> dict[str, Any]:
    """What the run in this folder was frozen with; nothing if it is a new one."""
    try:
        found = read_json_object(run_folder / _RUN_FILE, _MAX_BYTES).get("frozen")
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def find_adapter(given: Path) -> AdapterPlace:
    """Find an adapter.

    Args:
        given: the adapter's folder or its run's.

    Returns:
        Where it is, and what it was made for.

    Raises:
        WeathermanError: there is none.
    """
    for folder in (given, given / ADAPTER_FOLDER):
        if (folder / ADAPTER_CONFIG).is_file() and (folder / ADAPTER_WEIGHTS).is_file():
            return _read(folder)
    raise WeathermanError(
        "adapter.missing",
        f"{given} holds no adapter ({ADAPTER_WEIGHTS} and {ADAPTER_CONFIG}).",
        "give a run's folder, or the adapter/ or checkpoint-<step>/ in it.",
    )


def _read(folder: Path) -> AdapterPlace:
    try:
        adapter = read_json_object(folder / ADAPTER_CONFIG, _MAX_BYTES)
    except (OSError, ValueError) as problem:
        text = f"{folder / ADAPTER_CONFIG} cannot be read: {problem}."
        raise WeathermanError("adapter.unreadable", text, "copy the adapter again.") from problem
    try:
        run = read_json_object(folder.parent / _RUN_FILE, _MAX_BYTES)
    except (OSError, ValueError):
        run = {}
    config = run.get("config")
    if isinstance(config, dict) and isinstance(config.get("model_name_or_path"), str):
        return AdapterPlace(folder, config["model_name_or_path"], config.get("model_revision"), run)
    return AdapterPlace(folder, _base_model(adapter, folder), adapter.get("revision"), {})


def _base_model(adapter: dict[str, Any], folder: Path) -> str:
    """PEFT records where the base model was loaded from: for the demo model, a cache that may be another machine's."""
    name = adapter.get("base_model_name_or_path")
    if not isinstance(name, str) or not name:
        text = f"{folder / ADAPTER_CONFIG} does not name its base model."
        raise WeathermanError("adapter.no-base", text, "use the adapter of a finished run.")
    return DEMO_MODEL if Path(name).name.startswith(f"{DEMO_MODEL}-") else name


def save_tokenizer(source: Path | str, revision: str | None, template: Template, folder: Path) -> None:
    """Save a model's tokenizer with the training template, in the form that transformers and servers read.

    Args:
        source: the model's folder or its name on the hub.
        revision: of the hub's.
        template: the training template.
        folder: where to.
    """
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(source, revision=revision)
    tokenizer.chat_template = template.jinja
    tokenizer.save_pretrained(folder)
