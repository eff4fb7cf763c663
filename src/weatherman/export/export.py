"""Export an adapter: merged weights, tokenizer with the training template, GGUF and Modelfile, or nothing at all."""

from __future__ import annotations

import os
import shlex
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from weatherman.data.read import read_conversations
from weatherman.engine.choose import MLX_QUANTIZATIONS
from weatherman.errors import WeathermanError
from weatherman.export.mlx_adapter import mlx_commands, write_mlx_adapter
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
_DEQUANTISED = "dequantised-base"
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
        for_mlx: write the adapter in mlx-lm's format, and nothing else.
    """

    place: AdapterPlace
    target: Path
    conversations: tuple[Path, ...]
    dtype: str = "float16"
    gguf: str = "f16"
    task: Task = field(default_factory=Task)
    persona: str = ""
    for_mlx: bool = False


@dataclass(frozen=True, slots=True)
class Exported:
    """What was exported: its files, what was compared, why there is no GGUF if there is none, and into which base."""

    folder: Path
    files: tuple[str, ...]
    parity: Parity | None
    merge: dict[str, Any]
    no_gguf: str
    base_weights: str

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
    if plan.for_mlx:
        files = write_mlx_adapter(plan.place, staging)
        return Exported(plan.target, tuple(files), None, {}, "", "")
    merged = staging / MERGED
    save_tokenizer(*plan.place.tokenizer_source, template, merged)
    parity = check_parity(merged, _conversations(plan.conversations), template, tokenizer)
    from weatherman.engine.torch.merge import merge

    place, base_weights = _base_as_trained(plan.place, staging)
    check = merge(place, plan.dtype, merged, logit_prompts(plan, template, tokenizer))
    shutil.rmtree(staging / _DEQUANTISED, ignore_errors=True)
    files, no_gguf = _write_gguf(staging, plan)
    source = f"./{files[0]}" if files else f"./{MERGED}"
    context = int(plan.place.config.get("max_seq_length", _DEFAULT_CONTEXT_TOKENS))
    persona = plan.task.persona(plan.persona)
    if template.is_ours:  # of other templates llama.cpp runs the Jinja itself; Ollama has none of its own for them here
        text = modelfile(template, source, plan.task.tools, persona, max(context, _DEFAULT_CONTEXT_TOKENS))
        (staging / MODELFILE).write_text(text, encoding="utf-8")
    (staging / TASK_FILE).write_bytes(task_bytes(plan.task))
    record = {
        "base_weights": base_weights,
        "base_model": plan.place.base_model, "adapter": str(plan.place.folder), "run_id": plan.place.run.get("run_id"),
        "template": {"name": template.name, "version": template.version, "hash": template.hash},
        "tokenizer": tokenizer.hash, "dtype": plan.dtype, "parity": asdict(parity), "merge": asdict(check),
        "persona": persona.name or None,
    }  # fmt: skip
    write_json(staging / RECORD, record)
    names = tuple(f"{path.name}/" if path.is_dir() else path.name for path in sorted(staging.iterdir()))
    return Exported(plan.target, names, parity, asdict(check), no_gguf, base_weights)


def _base_as_trained(place: AdapterPlace, staging: Path) -> tuple[AdapterPlace, str]:
    """The adapter with the base that it was trained on, and in words what that is: 4 bits are dequantised first."""
    quantization = str(place.config.get("quantization", "none"))
    if quantization not in MLX_QUANTIZATIONS:
        return place, ""
    from weatherman.engine.mlx.library import require_mlx

    require_mlx()
    from weatherman.engine.mlx.dequantised import write_dequantised

    folder = staging / _DEQUANTISED
    write_dequantised(place.base_model, place.revision, quantization, folder)
    words = f"The base was trained in {quantization[0]} bits: the adapter is merged into that base, dequantised"
    return replace(place, base_model=str(folder), revision=None), words


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
    """What to run next, as (purpose, command); llama.cpp's are given for its source folder `llama.cpp`.

    What was written already is not converted again.
    """
    if plan.for_mlx:
        return mlx_commands(plan.place, exported.folder)
    folder, adapter = shlex.quote(str(exported.folder)), shlex.quote(str(plan.place.folder))
    base = shlex.quote(str(model_folder(plan.place.base_model)))
    made = MODEL_GGUF.format(plan.gguf)
    has_model, has_adapter = made in exported.files, ADAPTER_GGUF in exported.files
    model = f"{folder}/{made if has_model else MODEL_GGUF.format('f16')}"
    lora = f"{folder}/{ADAPTER_GGUF if has_adapter else 'adapter-f16.gguf'}"
    found = [("Ollama", f"cd {folder} && ollama create weatherman -f {MODELFILE} && ollama run weatherman")]
    if not has_model:
        command = f"python llama.cpp/convert_hf_to_gguf.py {folder}/{MERGED} --outtype f16 --outfile {model}"
        found.append(("GGUF by llama.cpp itself, merged", command))
    if not has_adapter:
        command = f"python llama.cpp/convert_lora_to_gguf.py {adapter} --base {base} --outtype f16 --outfile {lora}"
        found.append(("GGUF by llama.cpp itself, adapter alone", command))
    return [
        *found,
        ("smaller", f"llama-quantize {model} {folder}/{MODEL_GGUF.format('Q4_K_M')} Q4_K_M"),
        ("serve", f"llama-server -m {model} --jinja"),
        ("serve the base with the adapter", f"llama-server -m BASE.gguf --lora {lora} --jinja"),
    ]
