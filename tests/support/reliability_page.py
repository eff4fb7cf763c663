"""docs/reliability.md: each section between its marks is written by the script or test that measures it."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

PAGE = Path(__file__).parents[2] / "docs" / "reliability.md"


def section(name: str) -> str:
    """The text between a section's marks."""
    found = re.search(_pattern(name), PAGE.read_text(encoding="utf-8"), re.DOTALL)
    assert found, f"{PAGE} has no section {name}"
    return found[2].strip()


def replace_section(name: str, text: str) -> None:
    """Put a new text between a section's marks."""
    page = PAGE.read_text(encoding="utf-8")
    new, count = re.subn(
        _pattern(name), lambda found: f"{found[1]}\n\n{text.strip()}\n\n{found[3]}", page, flags=re.DOTALL
    )
    assert count == 1, f"{PAGE} has no section {name}"
    PAGE.write_text(new, encoding="utf-8")


def table(head: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    """A Markdown table."""
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(str(cell).replace("|", "\\|") for cell in line) + " |" for line in lines)


def _pattern(name: str) -> str:
    return rf"(<!-- {name} -->)(.*?)(<!-- /{name} -->)"
