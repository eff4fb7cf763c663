"""The same comparison on one CUDA GPU, with a Mistral-7B of random weights.

Usage: python -m benchmarks.gpu [--minutes 8] [--out FILE] [--tiny]

The most telling cells come first, each in a process of its own; every one is written to the result file at once, and
the same command again goes on with those that are missing or could not run. A cell that cannot run says why. `--tiny`
tries the program on a CPU with a tiny model: its figures mean nothing.
"""

from __future__ import annotations

import argparse
import datetime
import importlib.metadata
import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks.jobs import ROOT
from weatherman import messages
from weatherman.models.shape import KNOWN
from weatherman.system.atomic import write_atomic

SHAPE = KNOWN["mistralai/Mistral-7B-Instruct-v0.3"]
# Dense bfloat16 peaks on paper, FLOP/s, by what the device's name contains; the first that fits counts.
PEAKS = {"H200": 989e12, "H100 PCIe": 756e12, "H100": 989e12, "A100": 312e12, "L40S": 362e12, "4090": 165e12}
NOT_MEASURED = "not measured"
CELL_MINUTES = 5
PACKAGES = ("transformers", "peft", "flash-attn", "bitsandbytes", "triton")
EPOCHS = 3
Cell = dict[str, Any]


def cells(*, tiny: bool) -> list[Cell]:
    """Every combination, the most telling first."""

    def cell(weights: str, batches: str, kernel: str, **more: bool) -> Cell:
        return {"weights": weights, "batches": batches, "kernel": kernel, "tiny": tiny, **more}

    return [
        cell("bf16", "tree", "flex", recompute=True),
        cell("bf16", "packed", "flex", recompute=True),
        cell("bf16", "padded", "sdpa", recompute=True),
        cell("bf16", "tree", "flex", parity=True),
        cell("bf16", "tree", "sdpa", recompute=True),
        cell("bf16", "tree", "flex"),
        cell("bf16", "tree", "flash", recompute=True),
        cell("bf16", "padded", "sdpa"),
        cell("bf16", "packed", "flex"),
        cell("bf16", "tree", "sdpa"),
        cell("bf16", "tree", "flash"),
        cell("bf16", "packed", "flash", recompute=True),
        cell("qlora", "tree", "flex", recompute=True),
        cell("qlora", "padded", "sdpa", recompute=True),
        cell("bf16", "tree", "sdpa", parity=True),
        cell("bf16", "tree", "flash", parity=True),
        cell("bf16", "padded", "sdpa", parity=True),
    ]


def cell_name(cell: Cell) -> str:
    """A cell in words."""
    words = [cell["weights"], cell["batches"], cell["kernel"]]
    return " ".join([*words, *(word for key, word in _FLAGS.items() if cell.get(key))])


_FLAGS = {"recompute": "recomputed", "parity": "parity"}


def probe() -> dict[str, Any]:
    """The GPU and the packages that are here, asked in a process of its own."""
    code = (
        "import json, torch\n"
        "there = torch.cuda.is_available()\n"
        "p = torch.cuda.get_device_properties(0) if there else None\n"
        "print(json.dumps({'device': p.name if p else None, 'memory_bytes': p.total_memory if p else None, "
        "'torch': torch.__version__, 'cuda': torch.version.cuda}))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    found: dict[str, Any] = json.loads(done.stdout)
    return {**found, "versions": {name: _version(name) for name in PACKAGES}}


def _version(name: str) -> str:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return "not installed"


def run_cell(cell: Cell, timeout_s: float) -> dict[str, Any]:
    """Run a cell in a new process.

    Args:
        cell: which.
        timeout_s: when to give it up.

    Returns:
        `status` "measured" with its figures, or "skipped" with a `reason`.
    """
    command = [sys.executable, "-m", "benchmarks.gpu_cell", json.dumps(cell)]
    environment = dict(
        os.environ,
        PYTHONPATH=os.pathsep.join([str(ROOT), str(ROOT / "src")]),
        HF_HUB_OFFLINE="1",
        TOKENIZERS_PARALLELISM="false",
    )
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, env=environment, timeout=timeout_s, check=False, cwd=ROOT
        )
    except subprocess.TimeoutExpired:
        return {"status": "skipped", "reason": f"took longer than {timeout_s:.0f} s"}
    if done.returncode:
        lines = done.stderr.strip().splitlines() or ["no words"]
        return {"status": "skipped", "reason": f"exit code {done.returncode}: {lines[-1][:300]}"}
    return {"status": "measured", **json.loads(done.stdout.strip().splitlines()[-1])}


def figures(cell: Cell, result: dict[str, Any], device: str | None) -> dict[str, Any]:
    """A row of the table.

    Args:
        cell: which.
        result: what `run_cell` gave; empty if it was not run.
        device: the GPU's name.

    Returns:
        Its columns; `NOT_MEASURED` where nothing was.
    """
    columns = ("effective_tokens_per_s", "computed_tokens_per_s", "share_factor", "peak_bytes", "utilisation")
    row: dict[str, Any] = {"cell": cell_name(cell), **dict.fromkeys(columns, NOT_MEASURED)}
    if reason := result.get("reason"):
        row["reason"] = reason
    if cell.get("parity"):
        keys = ("relative_loss_difference", "relative_gradient_difference")
        return {"cell": row["cell"], **{key: result.get(key, NOT_MEASURED) for key in keys}}
    if result.get("status") != "measured":
        return row
    steps = result["steps"]
    computed = statistics.median(step["computed_tokens"] / step["wall_s"] for step in steps)
    row["effective_tokens_per_s"] = statistics.median(step["effective_tokens"] / step["wall_s"] for step in steps)
    row["computed_tokens_per_s"] = computed
    row["share_factor"] = statistics.median(step["effective_tokens"] / step["computed_tokens"] for step in steps)
    row["peak_bytes"] = result["peak_bytes"] or NOT_MEASURED
    peak = next((value for name, value in PEAKS.items() if device and name in device), None)
    if peak:
        row["utilisation"] = 4 * SHAPE.num_computing_parameters * computed / peak
    return row


def goals(rows: Sequence[dict[str, Any]], tokens_per_epoch: int | None) -> dict[str, Any]:
    """What the fastest bfloat16 tree reached against the goals; `NOT_MEASURED` where figures are missing.

    Args:
        rows: the table.
        tokens_per_epoch: effective tokens of the whole training set; None if they were not counted.

    Returns:
        `utilisation` (to reach: 0.45), `times_packed` (2) and `minutes` of the 3 epochs (40).
    """

    def fastest(batches: str) -> dict[str, Any] | None:
        measured = [
            row
            for row in rows
            if row["cell"].startswith(f"bf16 {batches}") and isinstance(row.get("effective_tokens_per_s"), float)
        ]
        return max(measured, key=lambda row: row["effective_tokens_per_s"], default=None)

    tree, packed = fastest("tree"), fastest("packed")
    reached: dict[str, Any] = dict.fromkeys(("utilisation", "times_packed", "minutes"), NOT_MEASURED)
    if tree:
        speed = tree["effective_tokens_per_s"]
        reached["utilisation"] = tree["utilisation"]
        if packed:
            reached["times_packed"] = speed / packed["effective_tokens_per_s"]
        if tokens_per_epoch:
            reached["minutes"] = EPOCHS * tokens_per_epoch / speed / 60
    return reached


def _tokens_per_epoch() -> int | None:
    estimates = sorted((ROOT / "benchmarks" / "results").glob("*-paper.json"))
    if not estimates:
        return None
    return int(json.loads(estimates[-1].read_text(encoding="utf-8"))["epoch"]["effective"])


def write(path: Path, machine: dict[str, Any], results: dict[str, Any], *, tiny: bool) -> None:
    """Write the result file: the raw results by cell, and the table."""
    rows = [figures(cell, results.get(cell_name(cell), {}), machine["device"]) for cell in cells(tiny=tiny)]
    reached = goals(rows, _tokens_per_epoch())
    content = {"hardware": machine, "tiny": tiny, "contenders": rows, "goals": reached, "results": results}
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomic(path, (json.dumps(content, indent=1) + "\n").encode(), durable=False)


def parse_arguments(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=8, help="begin no cell after this long; run again to go on")
    parser.add_argument("--out", type=Path, help="the result file (benchmarks/results/DATE-gpu.json)")
    parser.add_argument("--tiny", action="store_true", help="try the program on a CPU with a tiny model")
    parser.add_argument("--cells", type=int, help="only the first so many")
    chosen = parser.parse_args(arguments)
    if chosen.out is None:
        ending = "gpu-tiny" if chosen.tiny else "gpu"
        chosen.out = ROOT / "benchmarks" / "results" / f"{datetime.date.today().isoformat()}-{ending}.json"
    return chosen


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure the cells that are missing in the result file."""
    chosen = parse_arguments(arguments)
    machine = probe()
    if machine["device"] is None and not chosen.tiny:
        messages.error(f"No CUDA GPU was found, so every column stays {NOT_MEASURED!r}. Hint: try it with --tiny.")
        return 1
    results: dict[str, Any] = {}
    if chosen.out.is_file():
        results = json.loads(chosen.out.read_text(encoding="utf-8"))["results"]
    began_s = time.monotonic()
    for cell in cells(tiny=chosen.tiny)[: chosen.cells]:
        name = cell_name(cell)
        if results.get(name, {}).get("status") == "measured":
            continue
        if time.monotonic() - began_s > 60 * chosen.minutes:
            messages.warning(f"stopped after {chosen.minutes:g} minutes; the same command goes on")
            return 0
        print(name, file=sys.stderr, flush=True)
        results[name] = run_cell(cell, 60 * CELL_MINUTES)
        if results[name]["status"] == "skipped":
            messages.warning(f"{name}: {results[name]['reason']}")
        write(chosen.out, machine, results, tiny=chosen.tiny)
    messages.success(f"{chosen.out} is written")
    return 0


if __name__ == "__main__":
    sys.exit(main())
