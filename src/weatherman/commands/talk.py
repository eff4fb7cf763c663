"""`weatherman chat`, `compare` and `export`: what one does with a trained adapter."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from weatherman.commands.options import JsonOption

if TYPE_CHECKING:
    from weatherman.chat.chat import Chat
    from weatherman.export.export import Exported
    from weatherman.models.adapter import AdapterPlace

AdapterOption = Annotated[
    Path | None,
    typer.Option("--adapter", "-a", help="The adapter's folder or its run's; the newest finished run's by default."),
]
LiveOption = Annotated[
    bool, typer.Option("--live", help="Real weather from Open-Meteo; without it the weather is made up, offline.")
]
PersonaOption = Annotated[
    str | None,
    typer.Option(
        "--persona", "-p", help="twain, franklin, satire or neutral; by default the first of the run's, else twain."
    ),
]
DeviceOption = Annotated[str, typer.Option("--device", help="auto, cpu, mps or cuda.")]
MaxTokensOption = Annotated[int, typer.Option("--max-new-tokens", min=1, help="The longest turn of the model.")]


def register(app: typer.Typer) -> None:
    """Add these commands."""
    app.command()(chat)
    app.command()(compare)
    app.command()(export)


def chat(
    adapter: AdapterOption = None,
    persona: PersonaOption = None,
    once: Annotated[str | None, typer.Option("--once", help="Put one question and leave.")] = None,
    live: LiveOption = False,
    base: Annotated[bool, typer.Option("--base", help="Without the adapter: the base model alone.")] = False,
    max_new_tokens: MaxTokensOption = 320,
    device: DeviceOption = "auto",
    as_json: JsonOption = False,
) -> None:
    """Talk to an adapter in the terminal; the weather tools are really executed, and their calls shown.

    Questions are read from the terminal or from standard input. Exit code 1: a question got no proper answer.

    Example: weatherman chat --persona franklin --once "What is the weather like in Lisbon?"
    """
    from weatherman.chat.terminal import HELP, Printer, answer_json, ask_and_print, converse, typed_lines

    talk, place = _open(adapter, persona, live, device, max_new_tokens, use_adapter=not base)
    if as_json:
        good = True
        for question in [once] if once is not None else filter(str.strip, sys.stdin):
            answer = talk.ask(question.strip())
            print(answer_json(talk, question.strip(), answer, _facts(place, talk)), flush=True)
            good &= not answer.problem
        raise typer.Exit(0 if good else 1)
    printer = Printer(sys.stdout, colour=sys.stdout.isatty() and not os.environ.get("NO_COLOR"))
    model = place.base_model if base else f"{place.base_model} with {place.folder}"
    printer.title(f"{model} · {talk.persona} · weather: {talk.source.label}")
    if once is not None:
        raise typer.Exit(0 if ask_and_print(talk, once, printer) else 1)
    if sys.stdin.isatty():
        printer.title(HELP)
    raise typer.Exit(0 if converse(talk, typed_lines(), printer) else 1)


def compare(
    questions: Annotated[list[str] | None, typer.Argument(help="Questions; three by default.")] = None,
    adapter: AdapterOption = None,
    personas: Annotated[
        list[str] | None,
        typer.Option("--persona", "-p", help="Whom to ask (repeatable); by default the first of the run's."),
    ] = None,
    live: LiveOption = False,
    max_new_tokens: MaxTokensOption = 320,
    device: DeviceOption = "auto",
    as_json: JsonOption = False,
) -> None:
    """Put the same questions to the base model and to the adapter, and show the answers side by side.

    Example: weatherman compare "Is it foggy in London?" --persona twain --persona satire
    """
    from weatherman.chat import compare as module
    from weatherman.chat.chat import system_prompt
    from weatherman.messages import escape

    for persona in personas or ():
        system_prompt(persona)
    talk, place = _open(adapter, personas[0] if personas else None, live, device, max_new_tokens)
    pairs = module.compare(talk, questions or module.DEFAULT_QUESTIONS, personas or [talk.persona])
    if as_json:
        found = {"format_version": 1, **_facts(place, talk), "compared": [pair.to_json() for pair in pairs]}
        print(json.dumps(found, ensure_ascii=False))
    else:
        print(escape(f"{place.base_model} without and with {place.folder} · weather: {talk.source.label}"))
        module.print_table(pairs)


def export(
    adapter: AdapterOption = None,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="A new folder; `export` beside the adapter by default.")
    ] = None,
    dtype: Annotated[str, typer.Option("--dtype", help="Of the merged weights.")] = "float16",
    gguf: Annotated[str, typer.Option("--gguf", help="f16, f32 or none.")] = "f16",
    persona: PersonaOption = None,
    conversations: Annotated[
        list[Path] | None,
        typer.Option("--conversations", help="Files to compare on; the run's validation file by default."),
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Merge an adapter and write all that Ollama, llama.cpp and transformers need, or nothing if a check fails.

    Checked: the exported tokenizer renders every conversation, and every prompt in it, to the tokens that training saw;
    the merged weights, read back from disk, give the adapter's logits.

    Example: weatherman export --adapter runs/demo --output exported
    """
    from weatherman import messages
    from weatherman.chat.chat import default_persona, system_prompt
    from weatherman.errors import WeathermanError
    from weatherman.export import export as module
    from weatherman.models.adapter import find_adapter
    from weatherman.run.newest_adapter import newest_adapter

    if persona is not None:
        system_prompt(persona)
    for name, value, allowed in (("--dtype", dtype, module.DTYPES), ("--gguf", gguf, module.GGUF_TYPES)):
        if value not in allowed:
            raise WeathermanError("export.option", f"{name} {value}: choose one of {', '.join(allowed)}.")
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    place = find_adapter(adapter or newest_adapter())
    held_out = (
        place.config.get("validation_file", "data/synthetic/final_validation.jsonl") or place.config["train_file"]
    )
    files = tuple(conversations or [Path(held_out)])
    persona = persona or default_persona(place.config)
    plan = module.ExportPlan(place, output or place.folder.parent / "export", files, dtype, gguf, persona)
    if not as_json:
        messages.say("EXPORT", f"{place.folder} into {place.base_model}, {dtype} (a minute or two)")
    done = module.export(plan)
    if as_json:
        print(json.dumps(done.to_json() | {"commands": dict(module.commands(done, plan))}))
        return
    _say_export(done, module.commands(done, plan))


def _say_export(done: Exported, commands: list[tuple[str, str]]) -> None:
    from weatherman import messages

    parity, merge = done.parity, done.merge
    messages.say(
        "EXPORT",
        f"Same tokens as in training: {parity.num_conversations:,} conversations, {parity.num_prompts:,} prompts",
    )
    messages.say(
        "EXPORT",
        f"Logits of the merged weights: at most {merge['max_difference']:.2g} from the adapter's (allowed "
        f"{merge['tolerance']:.2g}; the adapter changes them by {merge['adapter_effect']:.2g}), "
        f"{merge['same_top_share']:.2%} of {merge['num_positions']:,} positions with the same first token",
    )
    if done.no_gguf:
        messages.warning(f"No GGUF was written: {done.no_gguf}")
    for purpose, command in commands:
        messages.say("EXPORT", f"{purpose}: {command}")
    messages.success(f"{done.folder} holds {', '.join(done.files)}")


def _facts(place: AdapterPlace, talk: Chat) -> dict[str, Any]:
    with_adapter = str(place.folder) if talk.adapter else None
    return {"base_model": place.base_model, "adapter": with_adapter, "weather_source": talk.source.name}


def _open(
    adapter: Path | None, persona: str | None, live: bool, device: str, max_new_tokens: int, *, use_adapter: bool = True
) -> tuple[Chat, AdapterPlace]:
    """Load the model; what can be wrong with the options is said before that."""
    from weatherman.chat.chat import Chat, default_persona, system_prompt
    from weatherman.errors import WeathermanError
    from weatherman.models.adapter import find_adapter
    from weatherman.run.newest_adapter import newest_adapter
    from weatherman.weather.live import LiveWeather
    from weatherman.weather.source import MadeUpWeather

    if persona is not None:
        system_prompt(persona)
    if device not in ("auto", "cpu", "mps", "cuda"):
        raise WeathermanError("chat.device", f"there is no device {device!r}.", "choose auto, cpu, mps or cuda.")
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    place = find_adapter(adapter or newest_adapter())
    template, tokenizer = place.speech()
    from weatherman.engine.torch.talk import TorchTalker

    talker = TorchTalker(place, tokenizer.special(template.stop_token), device)
    source = LiveWeather() if live else MadeUpWeather()
    persona = persona or default_persona(place.config)
    talk = Chat(talker, template, tokenizer, source, persona, adapter=use_adapter, max_new_tokens=max_new_tokens)
    return talk, place
