"""Write the measured parts of README and the H100 guide from benchmarks/results/: python tests/support/readme_parts.py"""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
README = ROOT / "README.md"
WITH_PARTS = (README, ROOT / "docs" / "TRAINING_H100.md")
RESULTS = ROOT / "benchmarks" / "results"
_BETWEEN = re.compile(r"(<!-- (benchmark|estimate) -->\n).*?(<!-- /\2 -->)", re.DOTALL)


def newest(pattern: str, usable: str) -> tuple[str, dict[str, Any]] | None:
    """Name and content of the newest result whose `usable` part holds something."""
    for path in sorted(RESULTS.glob(pattern), reverse=True):
        content: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        if content.get(usable):
            return path.name, content
    return None


def benchmark() -> str:
    """The table of contenders."""
    found = newest("*-cpu*.json", "contenders")
    if found is None:
        return "Not measured yet: `make bench`.\n"
    name, result = found
    clock = "CPU seconds of one thread" if result["settings"]["clock"] == "cpu" else "seconds by the clock"
    rows = "".join(
        f"| {one['label']} | {one['effective_tokens_per_s']['median']:.0f} "
        f"| {one['peak_bytes']['median'] / 2**30:.2f} | {one['final_loss']['median']:.4f} |\n"
        for one in result["contenders"]
    )
    times = result["ratios"].get("trl")
    ratio = f"Ours is {times['median']:.2f} times as fast as TRL, side by side. " if times else ""
    num_steps = min(one["effective_tokens_per_s"]["count"] for one in result["contenders"])
    how = f"medians of {num_steps} steps" if num_steps > 1 else "one step each on a busy machine"
    return (
        "| | effective tokens/s | peak memory, GB | loss, last step |\n|---|---:|---:|---:|\n"
        f"{rows}\n{ratio}SmolLM2-135M, 16-example steps of the shipped data, {result['hardware']['processor']}, {how}, "
        f"in {clock}: [{name}](benchmarks/results/{name}).\n"
    )


def estimate() -> str:
    """Time and money on one H100, on paper."""
    found = newest("*-paper.json", "estimates")
    if found is None:
        return "Not estimated yet.\n"
    ways = {one["way"]: one for one in found[1]["estimates"]}
    rows = "".join(
        "| {} | {:.0f} to {:.0f} minutes | {} |\n".format(words, *ways[way]["minutes"], _money(ways[way]["minutes"]))
        for way, words in (
            ("prefix tree", "**estimate**, each shared prefix computed once"),
            ("padded", "**estimate**, padded batches"),
        )
    )
    return (
        "| H100 on RunPod, 3 epochs | time | money |\n|---|---|---|\n"
        '| the original plan, quoted | 3 to 4 hours | "$2–3"; at $2 to $3 an hour it is $6 to $12 |\n'
        f"{rows}\nThe estimates are arithmetic (25 % to 45 % of the H100's peak; money is rate × hours, at $2 and at $3 an hour), not measurements: "
        f"[{found[0]}](benchmarks/results/{found[0]}).\n"
    )


def _money(minutes: list[float]) -> str:
    """The cheapest and the dearest, each as rate x hours."""
    return " to ".join(
        f"${rate * one / 60:.2f} (${rate:.0f} × {one / 60:.2f} h)" for rate, one in zip((2, 3), minutes, strict=True)
    )


def filled_in(page: Path) -> str:
    """A page with its measured parts; links are those of the page's folder."""
    parts = {"benchmark": benchmark, "estimate": estimate}
    up = "" if page.parent == ROOT else "../"

    def part(found: re.Match[str]) -> str:
        return found[1] + parts[found[2]]().replace("](benchmarks/", f"]({up}benchmarks/") + found[3]

    return _BETWEEN.sub(part, page.read_text(encoding="utf-8"))


if __name__ == "__main__":
    for one in WITH_PARTS:
        one.write_text(filled_in(one), encoding="utf-8")
