"""The command line: parse, dispatch, exit code. Everything heavy is imported inside the command that needs it."""

from __future__ import annotations

import os
import sys
import traceback
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer
from typer.exceptions import Abort, Exit, TyperException

from weatherman import __version__, messages
from weatherman.errors import EXIT_FAILED, WeathermanError

app = typer.Typer(
    name="weatherman",
    help="Fine-tune a small chat model with LoRA on a persona's voice and on weather tool calls.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
data_app = typer.Typer(help="Look at, check and build training data.", no_args_is_help=True, rich_markup_mode=None)
app.add_typer(data_app, name="data")

ConfigOption = Annotated[Path, typer.Option("--config", "-c", help="The training configuration (YAML).")]
SetOption = Annotated[list[str] | None, typer.Option("--set", help="Override one key: --set learning_rate=1e-4.")]
JsonOption = Annotated[bool, typer.Option("--json", help="JSON on standard output, nothing else.")]


@app.command()
def train(
    config: ConfigOption,
    overrides: SetOption = None,
    new_run: Annotated[
        bool, typer.Option("--new-run", help="A new folder <output_dir>-<time>, unless the last one is unfinished.")
    ] = False,
    reset_crash_loop: Annotated[
        bool, typer.Option("--reset-crash-loop", help="Forget earlier crashes at the same step.")
    ] = False,
) -> None:
    """Train, or go on with a run that was interrupted.

    Example: weatherman train --config configs/training_config_demo.yaml --set max_steps=20
    """
    from weatherman.config import load_config
    from weatherman.run import next_run_folder

    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    loaded = load_config(config, overrides or ())
    if new_run:
        loaded = loaded.model_copy(update={"output_dir": str(next_run_folder(Path(loaded.output_dir)))})
    from weatherman.train import train as run_training

    raise typer.Exit(run_training(loaded, overrides=overrides or (), reset_crash_loop=reset_crash_loop))


@app.command()
def status(
    run: Annotated[Path | None, typer.Argument(help="The run's folder; the newest under runs/ by default.")] = None,
    as_json: JsonOption = False,
    watch: Annotated[bool, typer.Option("--watch", help="Show it again every two seconds.")] = False,
) -> None:
    """What a run is doing, and what to do next.

    Example: weatherman status runs/demo --json
    """
    from weatherman.status import show_status

    raise typer.Exit(show_status(run, as_json=as_json, watch=watch))


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line; every failure is one clear line and exit code 1 (2 only for a crash loop)."""
    arguments = list(sys.argv[1:] if arguments is None else arguments)
    debug = "--debug" in arguments
    arguments = [argument for argument in arguments if argument != "--debug"]
    sys.exit(run_command(arguments, debug=debug))


def run_command(arguments: list[str], *, debug: bool) -> int:
    """Run one command.

    Args:
        arguments: without the program's name.
        debug: print tracebacks too.

    Returns:
        The exit code.
    """
    if arguments == ["--version"]:
        print(__version__)
        return 0
    try:
        result = app(args=arguments, prog_name="weatherman", standalone_mode=False)
        return result if isinstance(result, int) else 0
    except Exit as done:
        return done.exit_code
    except TyperException as problem:
        text = problem.format_message() if hasattr(problem, "format_message") else str(problem)
        messages.error(WeathermanError("cli.usage", text, "weatherman --help"))
        return EXIT_FAILED
    except WeathermanError as problem:
        if debug:
            traceback.print_exc()
        messages.error(problem)
        return problem.exit_code
    except (KeyboardInterrupt, Abort):
        messages.warning("Interrupted.")
        return 130
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return EXIT_FAILED
    except Exception as problem:
        if debug:
            traceback.print_exc()
        kind = type(problem).__name__
        messages.error(
            WeathermanError("internal", f"unexpected {kind}: {problem}", "run it again with --debug for a traceback.")
        )
        return EXIT_FAILED


if __name__ == "__main__":
    main()
