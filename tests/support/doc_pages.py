"""What README and the guides contain: shell blocks with their marks, links, paths, commands."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
PAGES = (ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md")))
GENERATED = ("CONFIG.md", "COMMANDS.md")
_FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_MARK = re.compile(r"<!-- (not run|slow): ([^\n]*\S) -->\n*\Z")


@dataclass(frozen=True)
class Block:
    """A fenced block of a page.

    Attributes:
        page: the page's name.
        line: where it begins.
        language: after the fence.
        text: its lines.
        mark: "not run" or "slow", from an HTML comment right before it; empty for a block that is run.
        reason: why.
    """

    page: str
    line: int
    language: str
    text: str
    mark: str = ""
    reason: str = ""

    @property
    def name(self) -> str:
        """Where it is."""
        return f"{self.page}:{self.line}"


def blocks(page: Path) -> list[Block]:
    """All fenced blocks of a page."""
    text = page.read_text(encoding="utf-8")
    found = []
    for fence in _FENCE.finditer(text):
        before = text[: fence.start()]
        mark = _MARK.search(before)
        marked = (mark[1], mark[2]) if mark else ("", "")
        found.append(Block(page.name, before.count("\n") + 1, fence[1], fence[2], *marked))
    return found


def shell_blocks() -> list[Block]:
    """The shell blocks of all pages."""
    return [block for page in PAGES for block in blocks(page) if block.language in ("bash", "sh", "shell")]


def prose(page: Path) -> str:
    """A page without its fenced blocks and comments."""
    text = _FENCE.sub("", page.read_text(encoding="utf-8"))
    return re.sub(r"<!--.*?-->", "", text, flags=re.DOTALL)


def anchors(page: Path) -> set[str]:
    """What a link into the page may name, as GitHub makes it of headings."""
    found = set()
    for heading in re.findall(r"^#+ (.+)$", prose(page), re.MULTILINE):
        plain = re.sub(r"[`*]|\[([^]]*)\]\([^)]*\)", r"\1", heading).strip().lower()
        found.add(re.sub(r"[^\w\- ]", "", plain).replace(" ", "-"))
    return found


def links(page: Path) -> list[str]:
    """The targets of a page's links and images."""
    return re.findall(r"\]\(([^)\s]+)\)", prose(page))


def quoted(page: Path) -> list[str]:
    """What a page's prose sets in code type."""
    return re.findall(r"`([^`\n]+)`", prose(page))


def command_lines(text: str) -> list[str]:
    """The lines of a shell block, continued ones joined, comments left out."""
    joined = text.replace("\\\n", " ")
    lines = (re.sub(r"(^|\s)#.*$", "", line).strip() for line in joined.splitlines())
    return [line for line in lines if line]
