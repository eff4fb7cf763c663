"""Compare training steps on this machine's CPU: TRL, a plain loop, and ours with sharing off and on.

Usage: python -m benchmarks.bench [--parts search,steps,batch,prefix,preparation] [--rounds 5] [--minutes 8] [--quick]

Every measurement runs in a process of its own and is written to the result file at once; the same command again goes on
where the last one stopped. The steps are interleaved: round R measures step R of every contender, in a rotated order.
"""

from __future__ import annotations

import argparse
import datetime
import fcntl
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from benchmarks.contenders import CONTENDERS
from benchmarks.jobs import (
    DEMO_CONFIG,
    LEARNING_RATE,
    OWN_TOKENS,
    PREFIX_EXAMPLES,
    ROOT,
    STEP_EXAMPLES,
    Job,
    benchmark_config,
    require_shape,
)
from benchmarks.results import ResultFile, basis
from weatherman import messages
from weatherman.config.schema import TrainingConfig
from weatherman.system.fingerprint import hash_file, hash_text
from weatherman.system.process_env import process_settings

PARTS = ("search", "steps", "batch", "prefix", "preparation")
MICRO_BATCHES = (1, 2, 4, 8)
BATCHES, QUICK_BATCHES = (1, 2, 4, 8, 16, 32), (1, 4)
PREFIXES, QUICK_PREFIXES = (0, 128, 512, 1024), (0, 512)
ROWS, QUICK_ROWS = (1000, 16_000), (1000,)
GROWING = ("ours-off", "ours-on")
UNSHARED_REPEATS = 5
CLOCK_HELP = "cpu: seconds that one thread computed, for a machine that others use too; good for ratios"

Wanted = tuple[str, str, int]  # contender, workload, repeat


def wanted(
    parts: Sequence[str], *, rounds: int, quick: bool, contenders: Sequence[str] = tuple(CONTENDERS)
) -> Iterator[Wanted]:
    """Everything to measure, in order.

    Args:
        parts: of `PARTS`.
        rounds: 16-example steps of every contender.
        quick: fewer points, no search.
        contenders: whose steps; the other parts have their own.

    Yields:
        Contender, workload and repeat.
    """
    if "search" in parts and not quick:
        yield from (("trl", f"search:{size}", 1) for size in MICRO_BATCHES)
    if "steps" in parts:
        names = list(contenders)
        for number in range(1, rounds + 1):
            yield "roofline", "shapes:0", number
            turn = (number - 1) % len(names)
            yield from ((name, f"step:{number}", 1) for name in names[turn:] + names[:turn])
    if "prefix" in parts:
        for tokens in QUICK_PREFIXES if quick else PREFIXES:
            for repeat in range(1, 1 + (UNSHARED_REPEATS if tokens == 0 and not quick else 1)):
                yield from ((name, f"prefix:{tokens}", repeat) for name in GROWING)
    if "batch" in parts:
        for size in QUICK_BATCHES if quick else BATCHES:
            yield from ((name, f"batch:{size}", 1) for name in GROWING)
    if "preparation" in parts:
        yield from (("preparation", f"rows:{rows}", 1) for rows in (QUICK_ROWS if quick else ROWS))


class Bench:
    """Runs jobs and keeps their results.

    Args:
        results: where they go.
        config_path: the configuration that the workers read.
        config: the same, read.
        state_folder: where adapters and optimizers wait between the steps.
        lock_path: a file whose lock is held during each measurement; None for no lock.
        min_cores: a measurement whose process got fewer cores than this, since others used them, is made again.
    """

    def __init__(
        self,
        results: ResultFile,
        config_path: Path,
        config: TrainingConfig,
        state_folder: Path,
        lock_path: Path | None = None,
        min_cores: float = 0.0,
    ) -> None:
        self._results = results
        self._clock: str = results.settings["clock"]
        self._config_path = config_path
        self._data_hash = hash_text(hash_file(Path(config.train_file)), hash_file(Path(config.validation_file)))
        self._state_folder = state_folder
        self._lock_path = lock_path
        self._min_cores = min_cores

    def run(self, contender: str, workload: str, repeat: int) -> bool:
        """Measure, unless it is there already.

        Returns:
            Whether it was measured now.
        """
        found_on = basis(contender, self._data_hash, self._clock)
        known = self._results.find(contender, workload, repeat, found_on)
        if known and known.get("cpu_s", 0) >= self._min_cores * known.get("wall_s", 0):
            return False
        job = self._job(contender, workload)
        print(f"{contender} {workload} (micro-batch {job.micro_batch})", file=sys.stderr, flush=True)
        with self._lock():
            figures = run_worker(job)
        self._results.add(
            {
                "contender": contender,
                "workload": workload,
                "repeat": repeat,
                "micro_batch": job.micro_batch,
                "basis": found_on,
                "at": datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds"),
                **figures,
            }
        )
        return True

    def _job(self, contender: str, workload: str) -> Job:
        kind, _, number = workload.partition(":")
        micro_batch = int(number) if kind == "search" else self._best_micro_batch()
        if contender == "trl-packed":
            micro_batch = 1  # a pack is a batch already
        state_in = state_out = None
        if kind == "step":
            state_out = str(self._state_folder / contender / number)
            state_in = str(self._state_folder / contender / str(int(number) - 1)) if number != "1" else None
        return Job(contender, workload, micro_batch, state_in, state_out, str(self._config_path), self._clock)

    def _best_micro_batch(self) -> int:
        """TRL's fastest size, which every padded contender then uses; 1 if it was not searched."""
        searched = [one for one in self._results.measurements if one["workload"].startswith("search:")]
        fastest = min(searched, key=lambda one: one[f"{self._clock}_s"], default=None)
        return fastest["micro_batch"] if fastest else 1

    @contextmanager
    def _lock(self) -> Iterator[None]:
        if self._lock_path is None:
            yield
            return
        with self._lock_path.open("a") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            yield


def run_worker(job: Job) -> dict[str, Any]:
    """Run one job in a new process, with the allocator settings that its users have.

    Raises:
        RuntimeError: the process failed; its last words are in the message.
    """
    environment = dict(os.environ, HF_HUB_OFFLINE="1", TOKENIZERS_PARALLELISM="false", PYTHONPATH=str(ROOT))
    if job.contender in CONTENDERS and CONTENDERS[job.contender].tuned_malloc:
        environment.update(process_settings(environment, sys.platform))
    if job.clock == "cpu":
        environment["OMP_NUM_THREADS"] = "1"  # threads that wait for each other count as busy
    command = [sys.executable, "-m", "benchmarks.worker", json.dumps(job.to_json())]
    done = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
    if done.returncode:
        raise RuntimeError(f"{job.contender} {job.workload} failed ({done.returncode}):\n{done.stderr[-2000:]}")
    figures: dict[str, Any] = json.loads(done.stdout.strip().splitlines()[-1])
    return figures


def parse_arguments(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--parts", default=",".join(PARTS), help="comma-separated, of: " + ", ".join(PARTS))
    parser.add_argument("--rounds", type=int, default=5, help="16-example steps per contender")
    parser.add_argument("--minutes", type=float, help="begin no measurement after this long; run again to go on")
    parser.add_argument("--contenders", default=",".join(CONTENDERS), help="whose steps (all)")
    parser.add_argument("--quick", action="store_true", help="one round and fewer points, into a file of its own")
    parser.add_argument("--config", type=Path, default=DEMO_CONFIG)
    parser.add_argument("--out", type=Path, help="the result file (benchmarks/results/DATE-cpu.json)")
    parser.add_argument("--clock", choices=("wall", "cpu"), default="wall", help=CLOCK_HELP)
    parser.add_argument("--min-cores", type=float, default=0, help="repeat what got fewer cores than this")
    parser.add_argument("--lock", type=Path, help="hold this file's lock during each measurement")
    chosen = parser.parse_args(arguments)
    chosen.parts, chosen.contenders = chosen.parts.split(","), chosen.contenders.split(",")
    if unknown := set(chosen.parts) - set(PARTS):
        parser.error(f"no such part: {', '.join(sorted(unknown))}")
    if unknown := set(chosen.contenders) - set(CONTENDERS):
        parser.error(f"no such contender: {', '.join(sorted(unknown))}")
    if chosen.out is None:
        ending = "cpu" + "-one-thread" * (chosen.clock == "cpu") + "-quick" * chosen.quick
        chosen.out = ROOT / "benchmarks" / "results" / f"{datetime.date.today().isoformat()}-{ending}.json"
    return chosen


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure what is missing in the result file, then draw the plot."""
    chosen = parse_arguments(arguments)
    config = benchmark_config(chosen.config)
    settings = {
        "clock": chosen.clock,
        "data": f"{config.train_file}, SHA-256 {hash_file(Path(config.train_file))[:12]}",
        "model": config.model_name_or_path,
        "examples_per_step": STEP_EXAMPLES,
        "learning_rate": LEARNING_RATE,
        "lora": {"r": config.lora_r, "alpha": config.lora_alpha, "dropout": 0, "modules": list(config.target_modules)},
        "prefix_examples": PREFIX_EXAMPLES,
        "prefix_own_tokens": OWN_TOKENS,
    }
    results = ResultFile.open(chosen.out, require_shape(config), settings)
    folder = ROOT / "runs" / "bench" / chosen.out.stem
    bench = Bench(results, chosen.config, config, folder, chosen.lock, chosen.min_cores)
    began_s = time.monotonic()
    rounds = 1 if chosen.quick else chosen.rounds
    for one in wanted(chosen.parts, rounds=rounds, quick=chosen.quick, contenders=chosen.contenders):
        if chosen.minutes is not None and time.monotonic() - began_s > 60 * chosen.minutes:
            messages.warning(f"stopped after {chosen.minutes:g} minutes; the same command goes on")
            return 0
        bench.run(*one)
    results.write()
    from benchmarks.plot import draw

    messages.success(f"{chosen.out} and {draw(chosen.out)} are written")
    return 0


if __name__ == "__main__":
    sys.exit(main())
