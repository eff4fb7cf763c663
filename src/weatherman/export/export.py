"""Export an adapter: merged weights, tokenizer with the training template, GGUF and Modelfile, or nothing at all."""

from __future__ import annotations

import os
import shlex
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from weatherman.data.read import read_conversations
from weatherman.errors import WeathermanError
from weatherman.export.modelfile import modelfile
from weatherman.export.template_parity import Parity, check_parity
from weatherman.models.adapter import AdapterPlace, save_tokenizer
from weatherman.models.base_model import model_folder
from weatherman.records import Conversation
from weatherman.rendering.render import render
from weatherman.rendering.templates import Template
from weatherman.rendering.tokenizer import TextTokenizer
from weatherman.system.atomic import write_json
from weatherman.task.task import TASK_FILE, Task, task_bytes

MERGED, MODEL_GGUF, ADAPTER_GGUF, MODELFILE, RECORD = (
    "merged", "weatherman-{}.gguf", "adapter-f32.gguf", "Modelfile", "export.json",
)  # fmt: skip
DTYPES = ("float16", "bfloat16", "float32")
GGUF_TYPES = ("f16", "f32", "none")
_DEFAULT_CONTEXT_TOKENS = 4096
_NUM_LOGIT_PROMPTS, _MAX_LOGIT_TOKENS = 3, 512


@dataclass(frozen=True, slots=True)
class ExportPlan:
    """What to export.

    Attributes:
        place: the adapter.
        target: the folder that appears when everything is right; it must not exist.
        conversations: files whose conversations the templates are compared on.
        dtype: of the merged weights.
        gguf: "f16", "f32" or "none".
        task: what the adapter was taught; the export keeps it as `task.json`.
        persona: of the task, the Modelfile's default; empty takes its first.
    """

    place: AdapterPlace
    target: Path
    conversations: tuple[Path, ...]
    dtype: str = "float16"
    gguf: str = "f16"
    task: Task = field(default_factory=Task)
    persona: str = ""


@dataclass(frozen=True, slots=True)
class Exported:
    """What was exported: its files, what was compared, and why there is no GGUF if there is none."""

    folder: Path
    files: tuple[str, ...]
    parity: Parity
    merge: dict[str, Any]
    no_gguf: str

    def to_json(self) -> dict[str, Any]:
        """The export for programs."""
        return {"format_version": 1, **asdict(self), "folder": str(self.folder)}


def export(plan: ExportPlan) -> Exported:
    """Export an adapter; the target folder appears whole or not at all.

    Raises:
        WeathermanError: the folder exists, a gate refuses, or something cannot be read or written.
    """
    if plan.target.exists():
        raise WeathermanError(
            "export.exists", f"{plan.target} exists already.", "remove it, or give another folder: --output DIR"
        )
    staging = plan.target.with_name(f".{plan.target.name}.{os.getpid()}.part")
    try:
        shutil.rmtree(staging, ignore_errors=True)
        staging.mkdir(parents=True)
        done = _export_into(staging, plan)
        staging.rename(plan.target)
    except OSError as problem:
        text = f"{plan.target} cannot be written: {problem.strerror or problem}."
        raise WeathermanError("export.unwritable", text, "give another folder: --output DIR") from problem
    finally:
        shutil.rmtree(staging, ignore_errors=True)
    return done


def _export_into(staging: Path, plan: ExportPlan) -> Exported:
    template, tokenizer = plan.place.speech()
    merged = staging / MERGED
    save_tokenizer(*plan.place.tokenizer_source, template, merged)
    parity = check_parity(merged, _conversations(plan.conversations), template, tokenizer)
    from weatherman.engine.torch.merge import merge

    check = merge(plan.place, plan.dtype, merged, logit_prompts(plan, template, tokenizer))
    files, no_gguf = _write_gguf(staging, plan)
    source = f"./{files[0]}" if files else f"./{MERGED}"
    context = int(plan.place.config.get("max_seq_length", _DEFAULT_CONTEXT_TOKENS))
    persona = plan.task.persona(plan.persona)
    if template.is_ours:  # of other templates llama.cpp runs the Jinja itself; Ollama has none of its own for them here
        text = modelfile(template, source, plan.task.tools, persona, max(context, _DEFAULT_CONTEXT_TOKENS))
        (staging / MODELFILE).write_text(text, encoding="utf-8")
    (staging / TASK_FILE).write_bytes(task_bytes(plan.task))
    record = {
        "base_model": plan.place.base_model, "adapter": str(plan.place.folder), "run_id": plan.place.run.get("run_id"),
        "template": {"name": template.name, "version": template.version, "hash": template.hash},
        "tokenizer": tokenizer.hash, "dtype": plan.dtype, "parity": asdict(parity), "merge": asdict(check),
        "persona": persona.name or None,
    }  # fmt: skip
    write_json(staging / RECORD, record)
    names = tuple(f"{path.name}/" if path.is_dir() else path.name for path in sorted(staging.iterdir()))
    return Exported(plan.target, names, parity, asdict(check), no_gguf)


def _conversations(paths: Sequence[Path]) -> Iterator[Conversation]:
    for path in paths:
        yield from read_conversations(path)


def logit_prompts(plan: ExportPlan, template: Template, tokenizer: TextTokenizer) -> list[list[int]]:
    """The first conversations as token ids, up to 512 of each: real text for the comparison of logits."""
    prompts: list[list[int]] = []
    for conversation in _conversations(plan.conversations):
        prompts.append(render(conversation, template, tokenizer)[-1].ids[:_MAX_LOGIT_TOKENS].tolist())
        if len(prompts) == _NUM_LOGIT_PROMPTS:
            break
    return prompts


def _write_gguf(staging: Path, plan: ExportPlan) -> tuple[list[str], str]:
    """Write model and adapter as GGUF; a kind of model that is not written here is no failure of the export."""
    if plan.gguf == "none":
        return [], "not asked for"
    from weatherman.engine.torch.gguf import write_adapter_gguf, write_model_gguf

    name = MODEL_GGUF.format(plan.gguf)
    try:
        write_model_gguf(staging / MERGED, staging / name, plan.gguf)
        write_adapter_gguf(plan.place.folder, staging / MERGED, staging / ADAPTER_GGUF)
    except WeathermanError as problem:
        for unfinished in (name, ADAPTER_GGUF):
            (staging / unfinished).unlink(missing_ok=True)
        return [], str(problem)
    return [name, ADAPTER_GGUF], ""


def commands(exported: Exported, plan: ExportPlan) -> list[tuple[str, str]]:
    """What to run next, as (purpose, command); llama.cpp's are given for its source folder `llama.cpp`."""
    folder, adapter = shlex.quote(str(exported.folder)), shlex.quote(str(plan.place.folder))
    base = shlex.quote(str(model_folder(plan.place.base_model)))
    made = MODEL_GGUF.format(plan.gguf)
    model = f"{folder}/{made if made in exported.files else MODEL_GGUF.format('f16')}"
    small = f"{folder}/{MODEL_GGUF.format('Q4_K_M')}"
    return [
        ("Ollama", f"cd {folder} && ollama create weatherman -f {MODELFILE} && ollama run weatherman"),
        (
            "GGUF by llama.cpp itself, merged",
            f"python llama.cpp/convert_hf_to_gguf.py {folder}/{MERGED} --outtype f16 --outfile "
            f"{folder}/{MODEL_GGUF.format('f16')}",
        ),
        (
            "GGUF by llama.cpp itself, adapter alone",
            f"python llama.cpp/convert_lora_to_gguf.py {adapter} --base {base} --outtype f16 --outfile "
            f"{folder}/adapter-f16.gguf",
        ),
        ("smaller", f"llama-quantize {model} {small} Q4_K_M"),
        ("serve", f"llama-server -m {model} --jinja"),
        ("serve the base with the adapter", f"llama-server -m BASE.gguf --lora {folder}/{ADAPTER_GGUF} --jinja"),
    ]
