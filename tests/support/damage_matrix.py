"""Every file of a run x every kind of damage -> what the next start does, as a table.

Usage: python tests/support/damage_matrix.py [--write-page]
"""

from __future__ import annotations

import argparse
import re
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from fault_runs import FaultRuns
from fork_server import Done
from reliability_page import replace_section, table

CHECKPOINT = "checkpoint-9"
OLDER = "checkpoint-6"
CHECKPOINT_FILES = (
    "adapter_model.safetensors", "adapter_config.json", "optimizer.safetensors", "state.json", "manifest.json",
)  # fmt: skip
RUN_FILES = ("resume_metadata.json", "progress.json", "status.json", "events.jsonl", "run.json", "run.lock")
RENDER_CACHE, EFFECT = "render cache", "effect.json"

SAME = "goes on at 9"
FALLS_BACK = "falls back to 6, warns, keeps the damaged one"
REFUSES = "refuses; `--reset-crash-loop` goes on at 9"
NO_LOCK = "refuses; once it is moved away: goes on at 9"
NO_GOOD = "refuses: belongs to another run"
FINISHES = "measures again"
WARNS = "warns, goes on at 9"


def missing(path: Path, other: Path, outside: Path) -> None:
    path.unlink()


def empty(path: Path, other: Path, outside: Path) -> None:
    path.write_bytes(b"")


def truncated(path: Path, other: Path, outside: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def bit_flipped(path: Path, other: Path, outside: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


def replaced(path: Path, other: Path, outside: Path) -> None:
    shutil.copyfile(other, path)


def symlink(path: Path, other: Path, outside: Path) -> None:
    target = Path(tempfile.mkdtemp(prefix="elsewhere-", dir=outside)) / path.name
    path.rename(target)
    path.symlink_to(target)


def folder(path: Path, other: Path, outside: Path) -> None:
    path.unlink()
    path.mkdir()


DAMAGES: tuple[Callable[[Path, Path, Path], None], ...] = (
    missing, empty, truncated, bit_flipped, replaced, symlink, folder,
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Cell:
    """One file and what is done to it."""

    file: str
    damage: Callable[[Path, Path, Path], None]

    @property
    def name(self) -> str:
        """For reports."""
        return f"{self.file} {self.damage.__name__.replace('_', ' ')}"


def cells() -> Iterator[Cell]:
    """All of them, file by file."""
    for file in (*(f"{CHECKPOINT}/{name}" for name in CHECKPOINT_FILES), *RUN_FILES, EFFECT, RENDER_CACHE):
        for damage in DAMAGES:
            yield Cell(file, damage)


def outcome(runs: FaultRuns, cell: Cell, run: Path) -> str:
    """Damage a copy of a run that died, start it again, and say what happened; what is wrong begins with WRONG."""
    cache = runs.rendered[-1]
    kept = cache.read_bytes()
    try:
        return _outcome(runs, cell, run)
    finally:  # the cache is not this run's alone
        if cell.file == RENDER_CACHE:
            shutil.rmtree(cache) if cache.is_dir() and not cache.is_symlink() else cache.unlink(missing_ok=True)
            cache.write_bytes(kept)


def _outcome(runs: FaultRuns, cell: Cell, run: Path) -> str:
    _make(runs, cell, run)
    done = runs.train(run)
    if done.returncode == 1:
        return _refusal(runs, run, done)
    if done.returncode or "Traceback" in done.output:
        return f"WRONG: exit code {done.returncode}: {done.output[-300:]}"
    # A bit flipped in the log stays flipped, also in a digit: nothing is computed from it. What is added must be right.
    if difference := runs.difference(run, from_attempt=2 if cell.file == "events.jsonl" else 1):
        return f"WRONG: {difference}"
    warned = "WARNING" in done.output
    found = re.search(r"RESUME: Found checkpoint at step (\d+)\.", done.output)
    if found is None:
        return "WRONG: it began again"
    kept = run / "quarantine" / CHECKPOINT
    if found[1] == "6" and warned and kept.is_dir():
        return FALLS_BACK
    if found[1] == ("12" if cell.file == EFFECT else "9"):
        if cell.file == EFFECT:
            return f"warns, {FINISHES}" if warned else FINISHES
        return WARNS if warned else SAME
    return f"WRONG: it went on at {found[1]}"


def _make(runs: FaultRuns, cell: Cell, run: Path) -> None:
    runs.died("before" if cell.file == EFFECT else "step 11", run)
    if cell.file == RENDER_CACHE:
        path, other = runs.rendered[-1], runs.rendered[0]
    else:
        path = run / cell.file
        other = run / OLDER / path.name if path.parent != run else runs.whole / path.name
    if not other.exists():
        other = runs.whole / "progress.json"  # of another run, and of another kind
    cell.damage(path, other, runs.root)


def _refusal(runs: FaultRuns, run: Path, done: Done) -> str:
    lines = done.output.splitlines()
    if not lines[-1].startswith("❌ ERROR: ") or "unexpected" in lines[-1]:
        return f"WRONG: no clear refusal: {done.output[-300:]}"
    if "belongs to another run" in done.output:
        return NO_GOOD
    lock = run / "run.lock"
    locked = f"the lock {lock} cannot be taken" in lines[-1] and "move it away" in lines[-1]
    if not locked and "--reset-crash-loop" not in lines[-1]:
        return f"WRONG: {lines[-1]}"
    if locked:
        lock.rename(run.with_suffix(".moved-away"))
    done = runs.train(run, *(() if locked else ("--reset-crash-loop",)))
    if done.returncode or "RESUME: Found checkpoint at step 9." not in done.output:
        return f"WRONG: after the advice: {done.output[-300:]}"
    difference = runs.difference(run)
    if difference:
        return f"WRONG: after the advice: {difference}"
    return NO_LOCK if locked else REFUSES


def page(outcomes: dict[Cell, str]) -> str:
    """The table, and what its words mean."""
    names = [damage.__name__.replace("_", " ") for damage in DAMAGES]
    rows = []
    for file in dict.fromkeys(cell.file for cell in outcomes):
        label = file if file == RENDER_CACHE else f"`{file}`".replace("/", "`: `")
        rows.append([label, *(outcomes[Cell(file, one)] for one in DAMAGES)])
    return (
        f"{len(outcomes)} cells, 0 wrong; `python tests/support/damage_matrix.py`. The run died after step 11 of 12 with "
        f"checkpoints 6 and 9 (for `{EFFECT}`: after the last step). Unless it refuses, each run ended the same.\n\n"
        f"{table(['file', *names], rows)}\n\n"
        "*replaced*: by the same file of the step before, or of another run (`adapter_config.json` is the same in both). *symlink*: to the very same content; a "
        "checkpoint made of links is not trusted. A bit flipped in a line of `events.jsonl` stays flipped: nothing is "
        "computed from it."
    )


def main() -> int:
    """Run the matrix; 0 if no cell is wrong."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--write-page", action="store_true", help="put the table into docs/reliability.md")
    parser.add_argument("--only", default="", help="cells whose name has this text")
    options = parser.parse_args()
    root = Path(tempfile.mkdtemp(prefix="weatherman-damage-"))
    runs = FaultRuns(root)
    outcomes, began_s = {}, time.monotonic()
    for number, cell in enumerate(cells()):
        if options.only in cell.name:
            outcomes[cell] = outcome(runs, cell, root / f"run-{number}")
            print(f"{cell.name}: {outcomes[cell]}", flush=True)
    runs.close()
    num_wrong = sum(text.startswith("WRONG") for text in outcomes.values())
    print(f"{len(outcomes)} cells, {num_wrong} wrong, {time.monotonic() - began_s:.0f} s")
    if num_wrong:
        print(f"the folders are kept in {root}")
        return 1
    if options.write_page:
        replace_section("damage", page(outcomes))
    shutil.rmtree(root)
    return 0


if __name__ == "__main__":
    sys.exit(main())
