"""The command line itself: help, exit codes, no traceback."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from command_line import weatherman
from weatherman import __version__


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
        (["train"], "❌ ERROR: Missing option '--config' / '-c'. Hint: weatherman --help"),
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


def test_debug_shows_the_traceback(tmp_path: Path) -> None:
    done = weatherman("status", "nowhere", "--debug", cache=tmp_path)
    assert done.returncode == 1
    assert "Traceback (most recent call last)" in done.stderr
