"""The command line: parse, dispatch, exit code. Everything heavy is imported inside the command that needs it."""

from __future__ import annotations

import os
import sys
import traceback
from collections.abc import Sequence

import typer
from typer.exceptions import Abort, Exit, TyperException

from weatherman import __version__, messages
from weatherman.commands import data, init, launching, preflight, report, talk, template, tools, training
from weatherman.errors import EXIT_FAILED, WeathermanError
from weatherman.system.process_env import restart_with_process_settings

app = typer.Typer(
    name="weatherman",
    help="Fine-tune a small chat model with LoRA on a persona's voice and on weather tool calls.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
# These load torch, or start a process that does.
COMPUTING = ("train", "tune", "launch", "chat", "compare", "export", "check", "doctor")
for module in (init, data, template, training, launching, talk, tools, preflight, report):
    module.register(app)


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line; every failure is one clear line and exit code 1 (2 only for a crash loop)."""
    arguments = list(sys.argv[1:] if arguments is None else arguments)
    if next((argument for argument in arguments if not argument.startswith("-")), "") in COMPUTING:
        restart_with_process_settings()
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
        return _usage(problem)
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


def _usage(problem: TyperException) -> int:
    """Tell what is wrong with the words of a command; a command without any shows its help."""
    text = problem.format_message() if hasattr(problem, "format_message") else str(problem)
    if type(problem).__name__ == "NoArgsIsHelpError":
        print(text)
        return EXIT_FAILED
    context = getattr(problem, "ctx", None)
    command = context.command_path if context else "weatherman"
    messages.error(WeathermanError("cli.usage", text, f"{command} --help"))
    return EXIT_FAILED


if __name__ == "__main__":
    main()
