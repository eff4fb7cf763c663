"""`weatherman data build | convert | check | stats | show`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from weatherman.commands.options import JsonOption

_FOLDER = Path("data/synthetic")
_TRAIN, _VALIDATION = _FOLDER / "final_train.jsonl", _FOLDER / "final_validation.jsonl"

data_app = typer.Typer(
    name="data", help="The conversations: build, check, describe, look at tokens.", no_args_is_help=True
)
TrainArgument = Annotated[Path | None, typer.Argument(help="A JSONL file; by default the built training file.")]
ValidationArgument = Annotated[
    Path | None, typer.Argument(help="The held-out file; by default the built one, if no other file is named.")
]
SeedOption = Annotated[int, typer.Option("--seed", help="The same seed gives the same bytes.")]


def register(app: typer.Typer) -> None:
    """Add these commands."""
    for command in (build, convert, check, stats, show):
        data_app.command()(command)
    app.add_typer(data_app)


def build(
    seed: SeedOption = 42,
    examples: Annotated[int, typer.Option("--examples", min=20, help="How many conversations.")] = 16_000,
    personas: Annotated[
        str, typer.Option("--personas", help="Comma-separated: twain, franklin, satire, neutral.")
    ] = "twain,franklin,satire,neutral",
    out: Annotated[Path, typer.Option("--out", help="The folder to write to.")] = _FOLDER,
) -> None:
    """Write final_train.jsonl, final_validation.jsonl and merge_metadata.json, and measure them.

    Exit code 1: a goal is missed (a small set repeats itself less than a large one, but may miss shares).

    Example: weatherman data build --seed 42 --examples 500 --personas twain,neutral --out /tmp/small
    """
    from weatherman import messages
    from weatherman.errors import WeathermanError
    from weatherman.weather.dataset.publish import build_data_set, link_processed

    reached = build_data_set(examples, seed, out, _chosen(personas))
    if out == _FOLDER:
        link_processed(out.parent)
    if not reached:
        raise WeathermanError("data.short", "the data falls short.", f"weatherman data check {out}/final_train.jsonl")
    messages.success(f"{examples:,} conversations are in {out}, and every goal is reached.")


def _chosen(text: str) -> list[str]:
    """The personas of a list, in the builder's order.

    Raises:
        WeathermanError: there is no such persona.
    """
    from weatherman.errors import WeathermanError
    from weatherman.weather.dataset.voices import PERSONAS

    named = [name.strip() for name in text.split(",") if name.strip()]
    strange = [name for name in named if name not in PERSONAS]
    if strange or not named:
        message = f"no persona {', '.join(strange)}." if strange else "no persona is named."
        raise WeathermanError("data.no-persona", message, f"choose from {', '.join(PERSONAS)}.")
    return [persona for persona in PERSONAS if persona in named]


def convert(
    places: Annotated[
        list[Path], typer.Argument(help="Files, patterns or folders; FILE=0.25 takes a quarter of its rows.")
    ],
    output: Annotated[Path, typer.Option("--output", "-o", help="The JSONL file to write.")],
    form: Annotated[str, typer.Option("--from", help="The form of the files; auto goes by their keys.")] = "auto",
    tools: Annotated[
        Path | None, typer.Option("--tools", help="A JSON list of tools, for rows that declare none.")
    ] = None,
    train_on: Annotated[str, typer.Option("--train-on", help="Answers to train on: all, last or marked.")] = "all",
    strict: Annotated[bool, typer.Option("--strict", help="Refuse a row rather than change it.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Write conversations of any form as one file that can be trained on; what is changed or refused is counted.

    Exit code 1: no row could be read, or with --strict a row was refused.

    Example: weatherman data convert my_chats.jsonl -o converted.jsonl --from openai
    """
    import json
    from typing import cast

    from weatherman.commands.conversion import chosen, report
    from weatherman.data.convert import convert as convert_files
    from weatherman.data.convert import tools_file
    from weatherman.data.masks import TrainOn
    from weatherman.data.reading import FORMS_BY_NAME, TRAIN_ON, FormatName, Reading

    reading = Reading(
        cast("FormatName", chosen("--from", form, FORMS_BY_NAME)),
        cast("TrainOn", chosen("--train-on", train_on, TRAIN_ON)),
        strict,
        tools_file(tools) if tools else "",
    )
    done = convert_files(places, output, reading)
    if as_json:
        print(json.dumps(done.to_json(), ensure_ascii=False, indent=1))
    else:
        report(done, output)
    raise typer.Exit(1 if strict and done.num_refused else 0)


def check(
    train: TrainArgument = None,
    validation: ValidationArgument = None,
    as_json: JsonOption = False,
) -> None:
    """Validate files and measure them; for files built here also their promises. Exit code 1: something falls short.

    Example: weatherman data check my_chats.jsonl --json
    """
    from weatherman.quality.report import check as check_files
    from weatherman.weather.dataset.promises import measure_with_promises

    raise typer.Exit(check_files(*_files(train, validation), as_json=as_json, measures=measure_with_promises))


def _files(train: Path | None, validation: Path | None) -> tuple[Path, Path | None]:
    return (train, validation) if train else (_TRAIN, _VALIDATION)


def stats(
    train: TrainArgument = None,
    validation: ValidationArgument = None,
    examples: Annotated[int, typer.Option("--examples", min=0, help="How many conversations to show.")] = 2,
    seed: SeedOption = 42,
    as_json: JsonOption = False,
) -> None:
    """The mix, a histogram of tokens, and a few conversations.

    Example: weatherman data stats --examples 3
    """
    import json

    from weatherman.quality.stats import describe

    files = [path for path in _files(train, validation) if path]
    found, text = describe(files, 0 if as_json else examples, seed)
    print(json.dumps(found, ensure_ascii=False, indent=1) if as_json else text)


def show(
    file: Annotated[Path, typer.Argument(help="A JSONL file.")],
    line: Annotated[int, typer.Option("--line", "-n", min=1, help="Which line, from 1.")] = 1,
    template: Annotated[
        str, typer.Option("--template", help="mistral-v3, smollm2, auto (the model's) or a .jinja file.")
    ] = "smollm2",
    tokenizer: Annotated[
        Path | None,
        typer.Option("--tokenizer", help="A folder with a tokenizer, if not the template's own."),
    ] = None,
) -> None:
    """Spell one conversation token by token; what is trained on is coloured, or stands between ⟦ and ⟧.

    Example: weatherman data show data/synthetic/final_train.jsonl --line 3 --template mistral-v3
    """
    import os
    import sys

    from weatherman.errors import WeathermanError
    from weatherman.models.adapter import template_choice
    from weatherman.models.base_model import demo_model_folder
    from weatherman.quality.tokens import mistral_tokenizer
    from weatherman.rendering.choose import template_of_model
    from weatherman.rendering.templates import TEMPLATES
    from weatherman.rendering.token_viewer import show_line
    from weatherman.rendering.tokenizer import load_tokenizer

    if template not in (*TEMPLATES, "auto") and not Path(template).is_file():
        hint = f"choose from {', '.join(TEMPLATES)}, auto, or name a .jinja file."
        raise WeathermanError("data.no-template", f"no template {template!r}.", hint)
    place = tokenizer or demo_model_folder() if template != "mistral-v3" or tokenizer else None
    chosen = load_tokenizer(place) if place else mistral_tokenizer()
    spelled = (
        template_of_model(template_choice({"chat_template": template}, {}), place, None, chosen) if place else None
    )
    colour = sys.stdout.isatty() and not os.environ.get("NO_COLOR")
    print(show_line(file, line, spelled or TEMPLATES[template], chosen, colour=colour), end="")
