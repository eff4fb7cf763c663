"""What a user is told to type can be typed."""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from weatherman import __version__
from weatherman.system.own_command import own_command

OWN = Path(sys.executable).with_name("weatherman")


def says_its_version(command: str, folder: Path, path: str) -> bool:
    done = subprocess.run(
        ["sh", "-c", command], cwd=folder, env={**os.environ, "PATH": path}, capture_output=True, text=True, check=False
    )
    return done.stdout == f"{__version__}\n"


@pytest.mark.skipif(not OWN.exists(), reason="the command is not installed here")
def test_the_line_works_in_the_shell_that_is_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    usual = "/usr/bin:/bin"
    monkeypatch.setenv("PATH", usual)
    assert own_command("status", "a b") == shlex.join([str(OWN), "status", "a b"])
    assert says_its_version(own_command("--version"), tmp_path, usual)
    monkeypatch.chdir(OWN.parents[1])
    assert own_command("status") == "bin/weatherman status"
    assert says_its_version(own_command("--version"), OWN.parents[1], usual)
    monkeypatch.setenv("PATH", f"{OWN.parent}:{usual}")
    assert own_command("status") == "weatherman status"


@pytest.mark.skipif(not OWN.exists(), reason="the command is not installed here")
def test_another_program_of_that_name_is_not_meant(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    other = tmp_path / "weatherman"
    other.write_text("#!/bin/sh\n")
    other.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert own_command("status").startswith("/") or own_command("status").endswith("bin/weatherman status")
