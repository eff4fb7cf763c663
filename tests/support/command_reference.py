"""docs/COMMANDS.md, written from what --help really prints. To write it again: python tests/support/command_reference.py"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "COMMANDS.md"
SHELL_SCRIPTS = ("setup_runpod_h100.sh", "train_h100_runpod.sh", "setup_m4_local.sh", "train_m4_local.sh")
_INTRODUCTION = """\
# Commands

What `--help` prints, for every command and script. Written by `python tests/support/command_reference.py`; a test compares.
"""


def said(*words: object) -> str:
    """Standard output of a command that must succeed."""
    environ = {**os.environ, "COLUMNS": "100", "NO_COLOR": "1"}
    done = subprocess.run([*map(str, words)], cwd=ROOT, env=environ, capture_output=True, text=True, check=True)
    return done.stdout.rstrip() + "\n"


def weatherman(*words: str) -> str:
    """Help of one of our commands."""
    return said(sys.executable, "-m", "weatherman.cli", *words, "--help")


def subcommands(text: str) -> list[str]:
    """The commands that a help text lists."""
    listed = text.partition("\nCommands:\n")[2].partition("\n\n")[0]
    return re.findall(r"^  ([a-z][a-z0-9-]*)(?:  |$)", listed, re.MULTILINE)


def command_reference() -> str:
    """The page, as Markdown."""
    sections: list[tuple[str, str]] = []
    waiting: list[tuple[str, ...]] = [()]
    while waiting:
        words = waiting.pop(0)
        text = weatherman(*words)
        sections.append((" ".join(("weatherman", *words)), text))
        waiting[:0] = [(*words, name) for name in subcommands(text)]
    sections += [(f"./{name}", said(ROOT / name, "--help")) for name in SHELL_SCRIPTS]
    return _INTRODUCTION + "".join(f"\n## {title}\n\n```text\n{text}```\n" for title, text in sections)


if __name__ == "__main__":
    PAGE.write_text(command_reference(), encoding="utf-8")
