"""Run a command in a real terminal (tmux) and draw the last screen of it as an SVG.

Usage: python tests/support/terminal_picture.py docs/images/run.svg --title "…" [--rows N] -- COMMAND…
"""

from __future__ import annotations

import argparse
import io
import re
import shlex
import subprocess
import tempfile
import time
from pathlib import Path

COLUMNS = 118
_FONT_FACE = re.compile(r"\s*@font-face \{.*?\}\n", re.DOTALL)


def last_screen(command: list[str], rows: int) -> str:
    """Run a command in a terminal of its own to its end.

    Returns:
        What it printed last, with its colours.
    """
    with tempfile.TemporaryDirectory(prefix="wp-") as folder:
        tmux = ["tmux", "-S", f"{folder}/tmux"]
        done = Path(folder) / "done"
        shell = f"{shlex.join(command)}; touch {done}; sleep 60"
        size = ["-x", str(COLUMNS), "-y", str(rows)]
        subprocess.run([*tmux, "-f", "/dev/null", "new-session", "-d", "-s", "picture", *size, shell], check=True)
        subprocess.run([*tmux, "set-option", "-g", "status", "off"], check=True)
        while not done.exists():
            time.sleep(0.2)
        shown = subprocess.run(
            [*tmux, "capture-pane", "-e", "-p", "-J", "-t", "picture"], check=True, capture_output=True, text=True
        )
        subprocess.run([*tmux, "kill-server"], check=False)
    return shown.stdout.rstrip("\n")


def as_svg(screen: str, title: str) -> str:
    """Draw a screen; the SVG needs no font from elsewhere."""
    from rich.console import Console
    from rich.text import Text

    console = Console(record=True, width=COLUMNS, file=io.StringIO(), force_terminal=True, color_system="truecolor")
    console.print(Text.from_ansi(screen))
    return _FONT_FACE.sub("", console.export_svg(title=title))


def main() -> None:
    """Draw what the command line asks for."""
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("picture", type=Path)
    options.add_argument("--title", required=True)
    options.add_argument("--rows", type=int, default=32)
    options.add_argument("command", nargs="+")
    chosen = options.parse_args()
    chosen.picture.parent.mkdir(parents=True, exist_ok=True)
    chosen.picture.write_text(as_svg(last_screen(chosen.command, chosen.rows), chosen.title), encoding="utf-8")


if __name__ == "__main__":
    main()
