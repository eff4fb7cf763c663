"""The command line itself: help, exit codes, no traceback."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from command_line import weatherman
from weatherman import __version__
from weatherman.cli import COMPUTING, app
from weatherman.system.process_env import PROCESS_SETTINGS


def test_help_names_every_command(tmp_path: Path) -> None:
    done = weatherman("--help", cache=tmp_path)
    assert done.returncode == 0
    for command in ("train", "status"):
        assert command in done.stdout


def test_help_imports_nothing_heavy() -> None:
    code = (
        "import sys\nfrom weatherman.cli import run_command\nassert run_command(['--help'], debug=False) == 0\n"
        "heavy = {'torch', 'transformers', 'numpy', 'pydantic', 'yaml', 'jsonschema', 'tokenizers'} & set(sys.modules)\n"
        "assert not heavy, heavy"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_version(tmp_path: Path) -> None:
    assert weatherman("--version", cache=tmp_path).stdout == f"{__version__}\n"


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (["trian"], "❌ ERROR: No such command 'trian'. Did you mean 'train'? Hint: weatherman --help"),
        (["train"], "❌ ERROR: Missing option '--config' / '-c'. Hint: weatherman train --help"),
        (["check"], "❌ ERROR: Missing argument 'group'. Hint: weatherman check --help"),
        (["data", "show"], "❌ ERROR: Missing argument 'file'. Hint: weatherman data show --help"),
        (["status", "--nonsense"], "❌ ERROR: No such option: --nonsense Hint: weatherman status --help"),
        (
            ["train", "--config", "no.yaml"],
            "❌ ERROR: there is no file no.yaml. Hint: the shipped ones are in configs/.",
        ),
        (["status", "nowhere"], "❌ ERROR: nowhere holds no run"),
    ],
)
def test_usage_errors_are_one_line_and_exit_1(tmp_path: Path, arguments: list[str], line: str) -> None:
    done = weatherman(*arguments, cache=tmp_path)
    assert done.returncode == 1
    assert done.stdout.startswith(line), done.stdout
    assert len(done.stdout.splitlines()) == 1
    assert done.stderr == ""


@pytest.mark.parametrize("words", [[], ["data"]])
def test_a_command_without_words_shows_its_help_and_exits_1(tmp_path: Path, words: list[str]) -> None:
    bare, asked = weatherman(*words, cache=tmp_path), weatherman(*words, "--help", cache=tmp_path)
    assert (bare.returncode, asked.returncode) == (1, 0)
    assert bare.stdout == asked.stdout
    assert len(bare.stdout.splitlines()) > 5


NOT_COMPUTING = {"data", "init", "template", "status", "report", "plan", "weather-server"}


def test_every_command_that_computes_starts_with_the_process_settings() -> None:
    """A new command has to be counted among those that compute or those that do not."""
    commands = {
        info.name or info.callback.__name__.replace("_", "-") for info in app.registered_commands if info.callback
    }
    commands |= {
        str(info.name or (info.typer_instance and info.typer_instance.info.name)) for info in app.registered_groups
    }
    assert commands == set(COMPUTING) | NOT_COMPUTING


@pytest.mark.skipif(sys.platform != "linux", reason="the settings are those of Linux's libraries")
@pytest.mark.parametrize("command", [*sorted(NOT_COMPUTING), *COMPUTING])
def test_settings_are_made_before_torch_is_loaded(command: str) -> None:
    code = (
        "import os, sys\n"
        "def execv(path, words):\n"
        "    print('AGAIN', os.environ['OMP_WAIT_POLICY'], 'torch' in sys.modules, words[-2:])\n    os._exit(0)\n"
        "os.execv = execv\nfrom weatherman.cli import main\nmain(['--debug', sys.argv[1], '--help'])"
    )
    kept = {name: text for name, text in os.environ.items() if name not in ("WEATHERMAN_PROCESS", *PROCESS_SETTINGS)}
    words = [sys.executable, "-c", code, command, "--help"]
    done = subprocess.run(words, env=kept, capture_output=True, text=True, check=False)
    again = f"AGAIN PASSIVE False {[command, '--help']}\n"
    assert (done.stdout == again) == (command in COMPUTING), done.stdout + done.stderr


def test_debug_shows_the_traceback(tmp_path: Path) -> None:
    done = weatherman("status", "nowhere", "--debug", cache=tmp_path)
    assert done.returncode == 1
    assert "Traceback (most recent call last)" in done.stderr
