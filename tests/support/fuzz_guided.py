"""Coverage-guided fuzzing of every reader with atheris (libFuzzer): inputs that reach new code are bred further.

Usage: pip install atheris==3.0.0; python tests/support/fuzz_guided.py [--seconds 30] [--only config] [--write-page]

Each reader is fuzzed in a process of its own, from the same good files and with the same demands as in fuzz.py: nothing
but WeathermanError, no forged line, nothing executed; libFuzzer limits time and memory.
"""

from __future__ import annotations

import argparse
import os
import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from reliability_page import replace_section, table

MAX_BYTES, MEMORY_MB, TIMEOUT_S = 20_000, 2048, 60
_EXECUTED = re.compile(r"stat::number_of_executed_units: +(\d+)")
_COVERED = re.compile(r"cov: (\d+)")


def be_the_fuzzer(reader: str, folder: Path, seconds: int) -> None:
    """Fuzz one reader; ends the process: 0 if nothing went wrong."""
    import atheris

    with atheris.instrument_imports(include=["weatherman", "yaml", "json"]):
        from fuzz import FRAGMENTS, targets, try_input

    os.chdir(folder)
    target, seeds = targets(folder)[reader]
    corpus = folder / "corpus"
    corpus.mkdir()
    for number, seed in enumerate((*seeds, *FRAGMENTS)):
        (corpus / str(number)).write_bytes(seed)

    def one_input(data: bytes) -> None:
        for problem in try_input(reader, target, data):
            raise AssertionError(problem)

    limits = (
        f"-max_total_time={seconds}",
        f"-max_len={MAX_BYTES}",
        f"-rss_limit_mb={MEMORY_MB}",
        f"-timeout={TIMEOUT_S}",
    )
    atheris.Setup([sys.argv[0], str(corpus), *limits, "-seed=1", "-print_final_stats=1"], one_input)
    atheris.Fuzz()


def fuzz_reader(reader: str, seconds: int) -> tuple[int, int, str]:
    """Fuzz one reader in a process of its own.

    Returns:
        How many inputs it got, how many branches they reached, and what went wrong.
    """
    from fuzz import MARKER

    with tempfile.TemporaryDirectory(prefix="weatherman-guided-") as name:
        command = [sys.executable, __file__, "--reader", reader, "--folder", name, "--seconds", str(seconds)]
        done = subprocess.run(command, capture_output=True, text=True, errors="replace", check=False)
        executed, covered = _EXECUTED.search(done.stderr), _COVERED.findall(done.stderr)
        markers = [str(path) for path in Path(name).rglob(f"*{MARKER}*")]
    wrong = done.stdout[-1000:] + done.stderr[-3000:] if done.returncode or not executed else ""
    if markers:
        wrong += f"something was executed: {markers}"
    return int(executed[1]) if executed else 0, int(covered[-1]) if covered else 0, wrong


def main() -> int:
    """Fuzz each reader in turn; 0 if nothing went wrong."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=int, default=30, help="for each reader")
    parser.add_argument("--only", default="", help="readers whose name has this text")
    parser.add_argument("--write-page", action="store_true", help="put the figures into docs/reliability.md")
    parser.add_argument("--reader", help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.reader:
        be_the_fuzzer(options.reader, options.folder, options.seconds)
    from fuzz import targets

    with tempfile.TemporaryDirectory() as name:
        readers = [reader for reader in targets(Path(name)) if options.only in reader]
    rows, num_wrong = [], 0
    for reader in readers:
        num_inputs, num_branches, wrong = fuzz_reader(reader, options.seconds)
        rows.append((reader, f"{num_inputs:,}", f"{num_branches:,}"))
        num_wrong += bool(wrong)
        print(f"{reader}: {num_inputs:,} inputs, {num_branches:,} branches {wrong}", flush=True)
    if options.write_page and not num_wrong:
        replace_section(
            "guided",
            f"`make fuzz-guided SECONDS={options.seconds}`, {time.strftime('%Y-%m-%d')}, guided by coverage: 0 wrong.\n\n"
            f"{table(('reader', 'inputs', 'branches reached'), rows)}",
        )
    return 1 if num_wrong else 0


if __name__ == "__main__":
    sys.exit(main())
