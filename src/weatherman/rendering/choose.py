"""Which chat template a model is trained with: one of ours, its own, or a file; with its stops and options."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

from weatherman.errors import WeathermanError
from weatherman.rendering.jinja_sandbox import compile_template, reads_date
from weatherman.rendering.readers import find_reader
from weatherman.rendering.templates import MISTRAL_V3, SMOLLM2, TEMPLATES, Template, choose_template
from weatherman.rendering.text_tokenizer import TextTokenizer

_VARIABLES = ("bos_token", "eos_token", "unk_token", "pad_token", "sep_token", "cls_token", "mask_token")
_SMOLLM2_ALONE = "<jupyter_script>"  # ChatML is spoken by many; this token of theirs only SmolLM2 has with it
_MISTRAL_V3_TOKENS = 32_768
_MAX_TEMPLATE_BYTES = 2**20


@dataclass(frozen=True, slots=True)
class TemplateChoice:
    """What a configuration says of the template.

    Attributes:
        name: "auto", the name of one of ours, or a path to a Jinja file.
        options: variables that the template reads, such as `enable_thinking`.
        control_tokens: "refuse" or "text".
        date: what a template is told that asks for the date, ISO.
    """

    name: str = "auto"
    options: Mapping[str, Any] = field(default_factory=dict)
    control_tokens: Literal["refuse", "text"] = "refuse"
    date: str = ""


def template_of_model(
    choice: TemplateChoice,
    place: Path | str,
    revision: str | None,
    tokenizer: TextTokenizer,
    base: Callable[[], Path | str] | None = None,
) -> Template:
    """The chat template for a model.

    Args:
        choice: what the configuration says.
        place: the model's folder, or its hub id.
        revision: of the hub's repository.
        tokenizer: the model's.
        base: says where else to look for the files that `place`, an adapter's folder, lacks; asked only if need be.

    Raises:
        WeathermanError: there is no such template, or it is no Jinja.
    """
    own = _own_jinja(place, revision)
    ours = _ours(choice.name, own, tokenizer)
    files = [place, base()] if base and not ours else [place]
    if ours:
        found = ours
    elif choice.name == "auto":
        if own is None:
            choose_template("auto", tokenizer.has)  # says what can be done
        found = Template(name=Path(str(files[-1])).name, jinja=own or "", stops=())
    else:
        found = Template(name=Path(choice.name).stem, jinja=_from_file(Path(choice.name)), stops=())
    options = json.dumps(dict(choice.options), sort_keys=True)
    found = replace(found, options=options, control_tokens=choice.control_tokens)
    if ours:
        return ours if found == ours else found
    config = _json(files, revision, "tokenizer_config.json")
    variables = tuple((name, text) for name in _VARIABLES if (text := _token(config.get(name))))
    date = choice.date if reads_date(found.jinja) else ""
    compile_template(found.jinja, date, found.name)
    found = replace(found, stops=_stops(files, revision, config, tokenizer), variables=variables, date=date)
    return replace(found, parse=find_reader(found, tokenizer, config.get("response_template")))


def _ours(name: str, own: str | None, tokenizer: TextTokenizer) -> Template | None:
    """One of ours if it is named, if the model has none, or if the model is of the kind that ours is made for."""
    if name in TEMPLATES:
        return TEMPLATES[name]
    if name != "auto":
        return None
    same = next((template for template in TEMPLATES.values() if template.jinja == own), None)
    if same or own is None:
        return same or choose_template("auto", tokenizer.has)
    if tokenizer.has("<|im_start|>") and tokenizer.has(_SMOLLM2_ALONE):
        return SMOLLM2
    is_v3 = tokenizer.has("[TOOL_CALLS]") and tokenizer.num_tokens == _MISTRAL_V3_TOKENS
    return MISTRAL_V3 if is_v3 and not tokenizer.has("[SYSTEM_PROMPT]") else None


def _own_jinja(place: Path | str, revision: str | None) -> str | None:
    if path := _file(place, revision, "chat_template.jinja"):
        return _from_file(path)
    found = _json([place], revision, "tokenizer_config.json").get("chat_template")
    if isinstance(found, list):
        named = {one.get("name"): one.get("template") for one in found if isinstance(one, dict)}
        found = named.get("tool_use") or named.get("default")
    return found if isinstance(found, str) and found else None


def _from_file(path: Path) -> str:
    try:
        data = path.read_bytes()
        if len(data) > _MAX_TEMPLATE_BYTES:
            raise ValueError(f"{len(data):,} bytes are no chat template")
        return data.decode("utf-8")
    except (OSError, ValueError) as problem:
        reason = getattr(problem, "strerror", None) or problem
        hint = f"set chat_template: auto, {', '.join(TEMPLATES)}, or a path to a .jinja file."
        raise WeathermanError("template.missing", f"no chat template {str(path)!r}: {reason}.", hint) from problem


def _stops(
    files: list[Path | str], revision: str | None, config: Mapping[str, Any], tokenizer: TextTokenizer
) -> tuple[str, ...]:
    """The tokens that end generation where the model is served: its generation settings', and `eos_token`."""
    generation = _json(files, revision, "generation_config.json") or _json(files, revision, "config.json")
    raw = generation.get("eos_token_id")
    numbers = raw if isinstance(raw, list) else [raw]
    texts = {token.id: text for text, token in tokenizer.added.items()}
    found = [_token(config.get("eos_token")), *(texts.get(number, "") for number in numbers if isinstance(number, int))]
    return tuple(dict.fromkeys(text for text in found if text))


def _token(raw: Any) -> str:
    """A special token in a tokenizer's settings: its text, or a record of it."""
    text = raw.get("content") if isinstance(raw, dict) else raw
    return text if isinstance(text, str) else ""


def _json(files: list[Path | str], revision: str | None, name: str) -> dict[str, Any]:
    for place in files:
        if path := _file(place, revision, name):
            try:
                found = json.loads(path.read_text(encoding="utf-8"))
            except (OSError, ValueError) as problem:
                text = f"{path} cannot be read: {problem}."
                raise WeathermanError("template.unreadable", text, "copy the model again.") from problem
            if isinstance(found, dict):
                return found
    return {}


def _file(place: Path | str, revision: str | None, name: str) -> Path | None:
    """A model's file: in its folder, or of the hub's repository; None if it has none of that name."""
    if Path(place).is_dir():
        path = Path(place) / name
        return path if path.is_file() else None
    from huggingface_hub import hf_hub_download

    try:
        return Path(hf_hub_download(str(place), name, revision=revision))
    except (OSError, ValueError):  # the hub's own errors derive from these two
        return None
