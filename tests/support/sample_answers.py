"""Ask an adapter the sample prompts of docs/DEPLOYMENT.md and write its answers there, word for word.

Usage: python tests/support/sample_answers.py [ADAPTER]; the newest finished run's adapter by default.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "DEPLOYMENT.md"
PROMPTS = (
    ("satire", "What is the weather like in Lisbon right now?"),
    ("satire", "Will it rain in Oslo over the next three days?"),
    ("satire", "Is it windy in Wellington today?"),
    ("satire", "Which is warmer at the moment, Cairo or Nairobi?"),
    ("satire", "In your own voice, what do you make of a week of fog?"),
    ("satire", "Can you write me a poem about my cat?"),
)
_BETWEEN = re.compile(r"(<!-- samples -->\n).*?(<!-- /samples -->)", re.DOTALL)


def ask(persona: str, prompt: str, adapter: list[str]) -> dict[str, Any]:
    """One answer, as `weatherman chat --json` gives it; a bad one is kept too."""
    words = [sys.executable, "-m", "weatherman.cli", "chat", "--persona", persona, "--once", prompt, "--json", *adapter]
    done = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, check=False)
    if not done.stdout.startswith("{"):
        raise SystemExit(done.stdout + done.stderr)
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def as_markdown(answers: list[dict[str, Any]]) -> str:
    """The answers under the model that gave them."""
    first = answers[0]
    text = (
        f"By `{first['base_model']}` with the adapter `{Path(first['adapter']).as_posix()}`, greedy; the weather is made up "
        f"(`{first['tool_source']}`).\n"
    )
    for one in answers:
        text += f"\n**{one['persona']}**: {one['question']}\n\n"
        for call in one["calls"]:
            mark = "" if call["valid"] else " (refused: not a valid call)"
            text += f"- called `{call['name']}({json.dumps(call['arguments'], ensure_ascii=False)})`{mark}\n"
        said = one["answer"].strip() or f"(no answer: {one['problem']})"
        text += ("\n" if one["calls"] else "") + "".join(f"> {line}\n" for line in said.splitlines())
    return text


def main() -> None:
    """Ask, and write the page."""
    adapter = ["--adapter", sys.argv[1]] if len(sys.argv) > 1 else []
    text = as_markdown([ask(persona, prompt, adapter) for persona, prompt in PROMPTS])
    page = PAGE.read_text(encoding="utf-8")
    PAGE.write_text(_BETWEEN.sub(lambda found: found[1] + text + found[2], page), encoding="utf-8")


if __name__ == "__main__":
    main()
