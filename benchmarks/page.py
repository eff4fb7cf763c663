"""Write the measured tables of docs/performance.md: `python -m benchmarks.page [RESULT]` (the newest by default)."""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path
from typing import Any

from benchmarks.bench import BATCHES, PREFIXES
from benchmarks.contenders import CONTENDERS
from benchmarks.gpu import cells, figures
from benchmarks.jobs import ROOT
from weatherman.system.atomic import write_atomic

PAGE = ROOT / "docs" / "performance.md"
RESULTS = ROOT / "benchmarks" / "results"
_BETWEEN = re.compile(r"(<!-- measured: (\w+) -->\n).*?(<!-- end -->)", re.DOTALL)
GOALS = (("trl", 4.0, "TRL"), ("peft-padded", 3.0, "the padded loop"), ("ours-off", 3.0, "our own padded path"))
_CLOCKS = {
    "wall": "Seconds are by the clock.",
    "cpu": "Others used the machine too: seconds are those that one thread computed, which are good for ratios.",
}
POINTS = {"batch": BATCHES, "prefix": PREFIXES}
_SECONDS = {"wall": "s", "cpu": "CPU s"}
UNSHARED_GOAL, ROOFLINE_GOAL, INTENDED_STEPS = 0.97, 0.65, 5


def newest_result() -> Path:
    """The newest full CPU result, by the date in its name."""
    return max(
        path for path in RESULTS.glob("*-cpu*.json") if re.fullmatch(r"\d{4}-\d\d-\d\d-cpu(-one-thread)?", path.stem)
    )


def newest_estimate() -> dict[str, Any]:
    """The newest paper estimate."""
    found: dict[str, Any] = json.loads(max(RESULTS.glob("*-paper.json")).read_text(encoding="utf-8"))
    return found


def newest_gpu() -> dict[str, Any]:
    """The newest GPU result; its columns without figures if there is none."""
    files = list(RESULTS.glob("*-gpu.json"))
    if files:
        known: dict[str, Any] = json.loads(max(files).read_text(encoding="utf-8"))
        return known
    return {"contenders": [figures(cell, {}, None) for cell in cells(tiny=False)]}


def filled_in(text: str, result: dict[str, Any], name: str, paper: dict[str, Any], gpu: dict[str, Any]) -> str:
    """Give the page with its measured parts made from results.

    Args:
        text: the page.
        result: a CPU result file's content.
        name: the CPU result file's name, without its ending.
        paper: the paper estimate.
        gpu: a GPU result file's content.

    Returns:
        The page; what is not between the markers stays.
    """
    parts = {
        "machine": _machine(result, name),
        "contenders": _contenders(result),
        "goals": _goals(result),
        "batch": _growth(result, "batch", "Examples"),
        "prefix": _growth(result, "prefix", "Prefix"),
        "preparation": _preparation(result),
        "paper": _paper(paper),
        "gpu": _gpu(gpu),
        "plot": f"![Effective tokens per second of each contender](../benchmarks/results/{name}.svg)\n",
    }
    return _BETWEEN.sub(lambda found: found[1] + parts[found[2]] + found[3], text)


def _table(header: list[str], rows: list[list[str]]) -> str:
    lines = [header, ["---"] + ["---:"] * (len(header) - 1), *rows]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def _range(figure: dict[str, Any], digits: int = 0, unit: float = 1.0) -> str:
    if not figure["count"]:
        return "not measured"
    median, (low, high) = figure["median"] / unit, (value / unit for value in figure["spread"])
    words = f"{median:,.{digits}f}"
    return words if figure["count"] == 1 else f"{words} ({low:,.{digits}f} to {high:,.{digits}f})"


def _machine(result: dict[str, Any], name: str) -> str:
    hardware, versions = result["hardware"], result["versions"]
    peak = result["roofline"]["flops_per_s"]
    words = ", ".join(f"{package} {versions[package]}" for package in ("torch", "transformers", "peft", "trl"))
    peak_words = f"{peak / 1e9:.0f} GFLOP/s" if peak else "not measured"
    return (
        f"Measured on {name[:10]}: {hardware['processor']}, {hardware['cores']} cores, "
        f"{hardware['memory_bytes'] / 2**30:.0f} GB; {words}. Matrix peak at the model's shapes: {peak_words} "
        f"(float32). Data: {result['settings']['data']}. {_CLOCKS[result['settings']['clock']]} All figures: "
        f"[benchmarks/results/{name}.json](../benchmarks/results/{name}.json).\n"
    )


def _contenders(result: dict[str, Any]) -> str:
    second = _SECONDS[result["settings"]["clock"]]
    header = [
        "Contender", f"Effective tokens/{second}", f"Computed tokens/{second}", "Share factor",
        "Peak memory, GB", "Roofline, %", "Loss, first step", "Loss, last step", "Steps",
    ]  # fmt: skip
    rows = [
        [
            one["label"],
            _range(one["effective_tokens_per_s"]),
            _range(one["computed_tokens_per_s"]),
            f"{one['share_factor']['median']:.2f}",
            f"{one['peak_bytes']['median'] / 2**30:.2f}",
            _range(one["roofline_fraction"], 0, 0.01),
            f"{one['first_loss']['median']:.6f}",
            f"{one['final_loss']['median']:.6f}",
            str(one["effective_tokens_per_s"]["count"]),
        ]
        for one in result["contenders"]
    ]
    measured = {one["name"] for one in result["contenders"]}
    missing = [entry.label for name, entry in CONTENDERS.items() if name not in measured]
    rows += [[label, *["not measured"] * (len(header) - 1)] for label in missing]
    return f"{_table(header, rows)}\n{_caveats(result)}"


def _caveats(result: dict[str, Any]) -> str:
    """What the figures lack: steps, or the search for the best micro-batch."""
    words = []
    fewest = min((one["effective_tokens_per_s"]["count"] for one in result["contenders"]), default=0)
    if fewest < INTENDED_STEPS:
        words.append(f"At least {INTENDED_STEPS} steps of each were intended; measured were {fewest} or more.")
    padded = [one for one in result["contenders"] if one["name"] == "trl"]
    if padded and result["search"]:
        words.append(f"TRL's fastest micro-batch was {padded[0]['micro_batch']}; all that pad used it.")
    elif padded:
        words.append(
            f"TRL and all that pad used micro-batches of {padded[0]['micro_batch']}; the search for TRL's fastest "
            "(`--parts search`) has not been measured."
        )
    return " ".join(words) + "\n"


def _goals(result: dict[str, Any]) -> str:
    contenders = {one["name"]: one for one in result["contenders"]}
    rows = []
    for name, goal, words in GOALS:
        row = [f"Times as fast as {words}", f"≥ {goal:g}"]
        ratio = result["ratios"].get(name)
        rows.append([*row, _range(ratio, 2), _met(ratio["median"] >= goal)] if ratio else [*row, *["not measured"] * 2])
    unshared = {row["contender"]: row for row in result["growth"]["prefix"] if row["at"] == 0}
    if len(unshared) == 2:
        speeds = {name: row["effective_tokens_per_s"]["median"] for name, row in unshared.items()}
        ratio = speeds["ours-on"] / speeds["ours-off"]
        words = "Times as fast as padded, nothing shared"
        rows.append([words, f"≥ {UNSHARED_GOAL}", f"{ratio:.2f}", _met(ratio >= UNSHARED_GOAL)])
    if {"trl", "ours-on"} <= set(contenders):
        ours, theirs = (contenders[name]["peak_bytes"]["median"] for name in ("ours-on", "trl"))
        rows.append(["Memory against TRL's, GB", f"< {theirs / 2**30:.2f}", f"{ours / 2**30:.2f}", _met(ours < theirs)])
    if "ours-on" in contenders and contenders["ours-on"]["roofline_fraction"]["count"]:
        fraction = contenders["ours-on"]["roofline_fraction"]
        met = _met(fraction["median"] >= ROOFLINE_GOAL)
        rows.append(["Share of the roofline, %", f"≥ {ROOFLINE_GOAL:.0%}"[:-1], _range(fraction, 0, 0.01), met])
    return _table(["Goal", "To reach", "Measured", "Reached"], rows)


def _met(met: bool) -> str:
    return "yes" if met else "no"


def _growth(result: dict[str, Any], kind: str, word: str) -> str:
    header, second = [word], _SECONDS[result["settings"]["clock"]]
    for name in ("ours-off", "ours-on"):
        label = CONTENDERS[name].label.removeprefix("ours, ")
        header += [f"{label}: {second} a step", f"effective tokens/{second}"]
    cells: dict[int, dict[str, list[str]]] = {}
    factors: dict[int, str] = {}
    for row in result["growth"][kind]:
        figures = [_range(row["step_s"], 1), _range(row["effective_tokens_per_s"])]
        cells.setdefault(row["at"], {})[row["contender"]] = figures
        if row["contender"] == "ours-on":
            factors[row["at"]] = f"{row['share_factor']:.2f}"
    missing = ["not measured"] * 2
    rows = []
    for at in sorted({*cells, *POINTS[kind]}):
        of = cells.get(at, {})
        both = [*of.get("ours-off", missing), *of.get("ours-on", missing)]
        rows.append([str(at), *both, factors.get(at, "not measured")])
    return _table([*header, "share factor"], rows)


def _preparation(result: dict[str, Any]) -> str:
    rows = [
        [
            f"{one['rows']:,}",
            f"{one['render_s']:.1f}",
            f"{one['trees_s']:.1f}",
            f"{one['steps']:,}",
            f"{one['effective_tokens'] / one['computed_tokens']:.2f}",
        ]
        for one in result["preparation"]
    ]
    return _table(["Conversations", "Reading and rendering, s", "All trees, s", "Steps", "Share factor"], rows)


def _paper(paper: dict[str, Any]) -> str:
    header = ["One H100, 3 epochs (estimate)", "Computed tokens", "FLOPs", "Minutes", "Dollars"]
    rows = [
        [
            one["way"],
            f"{one['computed_tokens'] / 1e6:.1f} million",
            f"{one['flops']:.2e}",
            "{:.0f} to {:.0f}".format(*one["minutes"]),
            "{:.2f} to {:.2f}".format(*one["dollars"]),
        ]
        for one in paper["estimates"]
    ]
    epoch = paper["epoch"]
    words = (
        f"An epoch has {epoch['examples']:,} examples, {epoch['effective'] / 1e6:.2f} million tokens "
        f"({epoch['supervised'] / 1e6:.2f} million supervised) and {epoch['steps']:,} steps; its share factor is "
        f"{paper['share_factor']:.2f}.\n\n"
    )
    return words + _table(header, rows)


def _gpu(gpu: dict[str, Any]) -> str:
    speeds = [row for row in gpu["contenders"] if "utilisation" in row]
    header = ["Cell", "Effective tokens/s", "Computed tokens/s", "Peak memory, GB", "Utilisation, %"]
    rows = [
        [
            row["cell"],
            _figure(row["effective_tokens_per_s"]),
            _figure(row["computed_tokens_per_s"]),
            _figure(row["peak_bytes"], 2**30, 1),
            _figure(row["utilisation"], 0.01, 1),
        ]
        for row in speeds
    ]
    parity = [
        [row["cell"], *(_figure(row[f"relative_{what}_difference"], 1e-6) for what in ("loss", "gradient"))]
        for row in gpu["contenders"]
        if "utilisation" not in row
    ]
    heads = ["Against float32", "Loss, relative difference, 1e-6", "Gradient, relative difference, 1e-6"]
    return f"{_table(header, rows)}\n{_table(heads, parity)}"


def _figure(value: float | str, unit: float = 1.0, digits: int = 0) -> str:
    return value if isinstance(value, str) else f"{value / unit:,.{digits}f}"


def main(arguments: list[str]) -> int:
    """Fill in the page."""
    path = Path(arguments[0]) if arguments else newest_result()
    result = json.loads(path.read_text(encoding="utf-8"))
    text = filled_in(PAGE.read_text(encoding="utf-8"), result, path.stem, newest_estimate(), newest_gpu())
    write_atomic(PAGE, text.encode(), durable=False)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
