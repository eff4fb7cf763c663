"""`weatherman template check`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from weatherman.commands.options import JsonOption

_DATA = Path("data/synthetic/final_validation.jsonl")

template_app = typer.Typer(name="template", help="Chat templates: what they make of data.", no_args_is_help=True)


def register(app: typer.Typer) -> None:
    """Add these commands."""
    template_app.command()(check)
    template_app.callback()(_group)
    app.add_typer(template_app)


def _group() -> None:
    """Chat templates: what they make of data."""


def check(
    model: Annotated[str, typer.Argument(help="A model folder, a hub id, or the demo model's name.")],
    data: Annotated[Path, typer.Option("--data", help="A file of conversations.")] = _DATA,
    template: Annotated[str, typer.Option("--template", help="auto, mistral-v3, smollm2 or a .jinja file.")] = "auto",
    examples: Annotated[int, typer.Option("--examples", min=1, help="How many conversations to try.")] = 500,
    as_json: JsonOption = False,
) -> None:
    """Render conversations as training would, and say what came of it. Exit code 1: something is refused.

    Example: weatherman template check smollm2-135m-instruct --data my_chats.jsonl
    """
    import json

    from weatherman import messages
    from weatherman.models.adapter import template_choice
    from weatherman.models.base_model import model_folder
    from weatherman.rendering.choose import template_of_model
    from weatherman.rendering.template_check import check_template, report_lines
    from weatherman.rendering.tokenizer import load_tokenizer

    place = model_folder(model)
    tokenizer = load_tokenizer(place)
    chosen = template_of_model(template_choice({"chat_template": template}, {}), place, None, tokenizer)
    report = check_template(data, examples, chosen, tokenizer)
    if as_json:
        print(json.dumps(report.to_json(), ensure_ascii=False))
    else:
        for line in report_lines(report):
            messages.say("TEMPLATE", line)
        if not report.refused:
            messages.success(f"{chosen.name} holds every conversation, each turn behind the prompt a server builds")
    if report.refused:
        raise typer.Exit(1)
