"""`weatherman chat`, `compare` and `export`: what one does with a trained adapter."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from weatherman.commands.options import JsonOption
from weatherman.commands.tools import LiveOption, McpOption, ToolOptions, ToolTimeoutOption, chosen_tools

if TYPE_CHECKING:
    from weatherman.chat.chat import Chat
    from weatherman.engine.torch.talk import Use
    from weatherman.export.export import Exported
    from weatherman.models.adapter import AdapterPlace
    from weatherman.task.task import Task

AdapterOption = Annotated[
    Path | None,
    typer.Option("--adapter", "-a", help="The adapter's folder or its run's; the newest finished run's by default."),
]
PersonaOption = Annotated[
    str | None,
    typer.Option(
        "--persona", "-p", help="One that the adapter was trained with (its task.json); by default the first."
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
    mcp: McpOption = None,
    live: LiveOption = False,
    tools_by_hand: Annotated[
        bool, typer.Option("--tools-by-hand", help="Show each call and read its result from you.")
    ] = False,
    base: Annotated[bool, typer.Option("--base", help="Without the adapter: the base model alone.")] = False,
    tool_timeout: ToolTimeoutOption = 30.0,
    max_new_tokens: MaxTokensOption = 320,
    device: DeviceOption = "auto",
    as_json: JsonOption = False,
) -> None:
    """Talk to an adapter in the terminal; its tools are really executed, and their calls shown.

    Who executes them: the servers that --mcp starts, or the weather's own source if the adapter was trained with the
    weather tools. Otherwise a call is shown and ends the answer. Questions are read from the terminal or from standard
    input. Ctrl-C interrupts an answer; at the prompt it ends the chat, as Ctrl-D does. Figures that no tool gave are
    told after an answer. Exit code 1: a question got no proper answer.

    Example: weatherman chat --persona franklin --once "What is the weather like in Lisbon?"
    """
    options = ToolOptions(mcp, live, tools_by_hand, tool_timeout)
    personas = [persona] if persona else []
    use: Use = "base" if base else "adapter"
    with _opened(adapter, personas, options, device, max_new_tokens, use=use) as (talk, place, label):
        raise typer.Exit(0 if _talk_as_asked(talk, place, label, once, as_json) else 1)


def _talk_as_asked(talk: Chat, place: AdapterPlace, label: str, once: str | None, as_json: bool) -> bool:
    """Answer what is asked, and tell whether every question got its answer."""
    from weatherman.chat.line_editing import typed_lines
    from weatherman.chat.terminal import Printer, answer_json, ask_and_print, converse, help_line
    from weatherman.models.base_model import cache_folder
    from weatherman.task.task import UNNAMED

    if as_json:
        good = True
        for question in [once] if once is not None else filter(str.strip, sys.stdin):
            answer = talk.ask(question.strip())
            print(answer_json(talk, question.strip(), answer, _facts(place, talk)), flush=True)
            good &= not answer.problem
        return good
    printer = Printer(sys.stdout, colour=sys.stdout.isatty() and not os.environ.get("NO_COLOR"))
    model = f"{place.base_model} with {place.folder}" if talk.adapter else place.base_model
    printer.title(f"{model} · {talk.persona or UNNAMED} · tools: {label}")
    if once is not None:
        return ask_and_print(talk, once, printer)
    if sys.stdin.isatty():
        printer.title(help_line(talk))
    return converse(talk, typed_lines(cache_folder() / "chat_history"), printer)


def compare(
    questions: Annotated[list[str] | None, typer.Argument(help="Questions; three of the task's by default.")] = None,
    adapter: AdapterOption = None,
    personas: Annotated[
        list[str] | None,
        typer.Option("--persona", "-p", help="Whom to ask (repeatable); by default the adapter's first."),
    ] = None,
    mcp: McpOption = None,
    live: LiveOption = False,
    tool_timeout: ToolTimeoutOption = 30.0,
    max_new_tokens: MaxTokensOption = 320,
    device: DeviceOption = "auto",
    as_json: JsonOption = False,
) -> None:
    """Put the same questions to the base model and to the adapter, and show the answers side by side.

    Example: weatherman compare "Is it foggy in London?" --persona twain --persona satire
    """
    from weatherman.chat import compare as module
    from weatherman.chat.waiting import waiting
    from weatherman.errors import WeathermanError
    from weatherman.messages import escape

    options = ToolOptions(mcp, live, False, tool_timeout)
    with _opened(adapter, personas or [], options, device, max_new_tokens, use="both") as (talk, place, label):
        asked = questions or list(talk.task.questions[: module.NUM_QUESTIONS])
        if not asked:
            raise WeathermanError(
                "chat.questions", "the task has no questions of its own.", "give some to compare with."
            )
        with waiting("asking both"):
            pairs = module.compare(talk, asked, personas or [talk.persona])
        if as_json:
            found = {"format_version": 1, **_facts(place, talk), "compared": [pair.to_json() for pair in pairs]}
            print(json.dumps(found, ensure_ascii=False))
        else:
            print(escape(f"{place.base_model} without and with {place.folder} · tools: {label}"))
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
    for_what: Annotated[
        str, typer.Option("--for", help="all; or mlx: the adapter alone, as mlx_lm.generate reads it.")
    ] = "all",
    as_json: JsonOption = False,
) -> None:
    """Merge an adapter and write all that Ollama, llama.cpp and transformers need, or nothing if a check fails.

    Checked: the exported tokenizer renders every conversation, and every prompt in it, to the tokens that training saw;
    the merged weights, read back from disk, give the adapter's logits.

    Example: weatherman export --adapter runs/demo --output exported
    """
    from weatherman import messages
    from weatherman.errors import WeathermanError
    from weatherman.export import export as module
    from weatherman.models.adapter import find_adapter
    from weatherman.run.newest_adapter import newest_adapter

    for name, value, allowed in (("--dtype", dtype, module.DTYPES), ("--gguf", gguf, module.GGUF_TYPES)):
        if value not in allowed:
            raise WeathermanError("export.option", f"{name} {value}: choose one of {', '.join(allowed)}.")
    if for_what not in ("all", "mlx"):
        raise WeathermanError("export.option", f"--for {for_what}: choose one of all, mlx.")
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    place = find_adapter(adapter or newest_adapter())
    task = _task(place)
    task.persona(persona or "")
    held_out = place.config.get("validation_file", "data/synthetic/final_validation.jsonl")
    files = tuple(conversations or [Path(held_out)])
    for_mlx = for_what == "mlx"
    target = output or place.folder.parent / ("export-mlx" if for_mlx else "export")
    plan = module.ExportPlan(place, target, files, dtype, gguf, task, persona or "", for_mlx)
    if not as_json and not for_mlx:
        messages.say("EXPORT", f"{place.folder} into {place.base_model}, {dtype} (a minute or two)")
    done = module.export(plan)
    if as_json:
        print(json.dumps(done.to_json() | {"commands": dict(module.commands(done, plan))}))
        return
    _say_export(done, module.commands(done, plan))


def _say_export(done: Exported, commands: list[tuple[str, str]]) -> None:
    from weatherman import messages

    parity, merge = done.parity, done.merge
    if done.base_weights:
        messages.say("EXPORT", done.base_weights)
    if parity:
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
    source = talk.source.name if talk.source else None
    return {"base_model": place.base_model, "adapter": with_adapter, "tool_source": source}


def _task(place: AdapterPlace) -> Task:
    """What the adapter was taught; what is to be said about an older one goes to standard error, apart from answers."""
    from weatherman.task.find import task_of_adapter

    task, told = task_of_adapter(place.folder, place.run)
    if told:
        _note(told)
    return task


def _note(text: str) -> None:
    from weatherman.messages import escape

    print(escape(f"({text})"), file=sys.stderr, flush=True)


@contextmanager
def _opened(
    adapter: Path | None, personas: Sequence[str], options: ToolOptions, device: str, max_new_tokens: int, *, use: Use
) -> Iterator[tuple[Chat, AdapterPlace, str]]:
    """Load the model and start what executes the tools; what can be wrong with the options is said before that.

    Yields:
        The chat, the adapter's place, and where the tools' results come from, for people.
    """
    from weatherman.chat.chat import Chat
    from weatherman.chat.waiting import waiting
    from weatherman.errors import WeathermanError
    from weatherman.models.adapter import find_adapter
    from weatherman.rendering.render import stop_ids
    from weatherman.run.newest_adapter import newest_adapter

    if device not in ("auto", "cpu", "mps", "cuda"):
        raise WeathermanError("chat.device", f"there is no device {device!r}.", "choose auto, cpu, mps or cuda.")
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    place = find_adapter(adapter or newest_adapter())
    task = _task(place)
    for persona in personas:
        task.persona(persona)
    with chosen_tools(task, options) as tools:
        for note in tools.notes:
            _note(note)
        template, tokenizer = place.speech()
        from weatherman.engine.torch.talk import TorchTalker

        with waiting("loading the model"):
            talker = TorchTalker(place, stop_ids(template, tokenizer), device, use=use)
        chat = Chat(
            talker, template, tokenizer, task, tools.declared, tools.source, personas[0] if personas else "",
            adapter=use != "base", max_new_tokens=max_new_tokens,
        )  # fmt: skip
        yield chat, place, tools.label
