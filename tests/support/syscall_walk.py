"""Walk through the system calls of a life: at each one that touches the run's folder, die, or get ENOSPC, or EIO.

Usage: python tests/support/syscall_walk.py [--faults KILL,ENOSPC,EIO] [--jobs 2] [--minutes 30] [--seed 1] [--write-page]

A run that died with checkpoints 3 and 6 is started again under strace. The first trace, without faults, says which
calls touch the run's folder; then each of them is hit in a life of its own. strace's log must confirm that it was this
very call, else the calls are counted anew and it is tried again; what was never hit is told apart. The same command then goes on: it must
resume from the newest checkpoint that verifies, and end with the untouched run's adapter and losses. The cases are taken
in random order, so that a walk that is given too few minutes is a fair sample, and says what share it covers.
"""

from __future__ import annotations

import argparse
import multiprocessing
import random
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from fault_runs import FaultRuns
from fork_server import Done
from reliability_page import replace_section, table
from weatherman.checkpoints.checkpoint import list_checkpoints
from weatherman.checkpoints.manifest import verify_checkpoint
from weatherman.errors import WeathermanError

CALLS = (
    "openat", "write", "pwrite64", "ftruncate", "fsync", "rename", "renameat", "renameat2", "unlink", "unlinkat",
    "mkdir", "rmdir",
)  # fmt: skip
FAULTS = ("KILL", "ENOSPC", "EIO")
MISSED, DIED_THERE, SURVIVED, TOLD = "missed", "died", "survived", "said so, exit 1"
MAX_TRIES = 5
CHECKPOINT_FILES = ("adapter_config.json", "adapter_model.safetensors", "optimizer.safetensors", "state.json")
SETTINGS = ("max_steps=9", "sample_prompts=[]")
DIED = "step 8"
# An old checkpoint goes only once two newer ones verify; a lock that cannot be deleted is a dead process's.
HARMLESS = ("", "left over or missing: checkpoint-3", "left over or missing: run.lock")
NO_REPORT = "left over or missing: report.html"
_LINE = re.compile(r"(\d+) +(\w+)\((.*)")
_RESUMED = re.compile(r"RESUME: Found checkpoint at step (\d+)\.")
_CHANGING = ((r"\.tmp\w{6}\b", ".tmp"), (r"\.\d+\.\d+\.tmp\b", ".tmp"), (r"(\.(?:staging|deleting)-\d+)-\d+", r"\1"))


@dataclass(frozen=True, slots=True)
class Call:
    """The `nth` call of `name` in a life's main thread (from 1), and what it was."""

    name: str
    nth: int
    text: str

    @property
    def paths(self) -> tuple[str, ...]:
        """What it names in the run's folder, without what differs from life to life: pids and random names."""
        text = re.split(r"\) += ", self.text)[0]
        for pattern, new in _CHANGING:
            text = re.sub(pattern, new, text)
        return tuple(re.findall(r'(?<=["<])RUN[^">]*', text))  # and not the end of O_TRUNC


@dataclass(frozen=True, slots=True)
class Share:
    """The cases of one worker: its folder, pairs of a fault and the number of a call, and when it must end."""

    root: Path
    calls: tuple[Call, ...]
    cases: tuple[tuple[str, int], ...]
    until_s: float


def trace(runs: FaultRuns, run: Path, log: Path, inject: str = "") -> Done:
    """Start a life under strace, with a fault if one is given."""
    life = runs.start(run, hold=True)
    command = ["strace", "-f", "-y", "-s", "0", "-o", str(log), "-e", f"trace={','.join(CALLS)}", "-p", str(life.pid)]
    if inject:
        command += ["-e", f"inject={inject}"]
    tracer = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    assert tracer.stderr is not None
    said = tracer.stderr.readline()
    if "attached" not in said:
        life.send()
        life.wait()
        raise RuntimeError(f"strace cannot attach: {said}")
    life.send(signal.SIGCONT)
    done = life.wait()
    tracer.wait(timeout=30)
    return done


def _main_calls(run: Path, log: Path) -> list[Call]:
    """All calls of the main thread. One that another thread's line cut in two stands at its first half."""
    found, counts, main = [], Counter[str](), ""
    for line in log.read_text(encoding="utf-8", errors="replace").splitlines():
        if match := _LINE.match(line):
            main = main or match[1]
            if match[1] == main:
                counts[match[2]] += 1
                found.append(Call(match[2], counts[match[2]], match[3].replace(str(run), "RUN")))
    return found


def calls_on(run: Path, log: Path) -> list[Call]:
    """The main thread's calls that name something below the run's folder."""
    return [call for call in _main_calls(run, log) if "RUN" in call.text]


def was_hit(call: Call, fault: str, run: Path, log: Path) -> bool:
    """Whether strace's log says that this very call was hit: a kill, by ending there; an error, by what strace adds."""
    made = _main_calls(run, log)
    if fault == "KILL":
        hit = made[-1] if "killed by SIGKILL" in log.read_text(encoding="utf-8", errors="replace") else None
    else:
        hit = next((one for one in made if one.name == call.name and one.nth == call.nth), None)
        if "(INJECTED)" not in log.read_text(encoding="utf-8", errors="replace"):
            hit = None
    return hit is not None and (hit.name, hit.nth, hit.paths) == (call.name, call.nth, call.paths)


def outcome(runs: FaultRuns, call: Call, fault: str, run: Path, log: Path) -> str:
    """Hit one call of one life, go on, and say what happened; what is wrong begins with WRONG."""
    what = "signal=KILL" if fault == "KILL" else f"error={fault}"
    runs.died(DIED, run)
    done = trace(runs, run, log, f"{call.name}:{what}:when={call.nth}")
    if not was_hit(call, fault, run, log):
        return MISSED
    if problem := _hit_life_problem(done, fault):
        return f"WRONG: {problem}"
    result = SURVIVED
    if done.returncode:
        result = DIED_THERE if fault == "KILL" else TOLD
        best = _newest_that_verifies(run)
        done = runs.train(run)
        if problem := _next_life_problem(done, best):
            return f"WRONG: the next life: {problem}"
    difference = runs.difference(run)
    if difference == NO_REPORT and "The report could not be written" in done.output:
        runs.train(run)  # a finished run that has none writes it
        difference = runs.difference(run)
    return result if difference in HARMLESS else f"WRONG: {difference}"


def outcome_of_tries(runs: FaultRuns, calls: list[Call], number: int, fault: str, run: Path, log: Path) -> str:
    """The same for one of `calls`; when another call came in its place, all are counted anew and it is tried again.

    Python opens a folder once more when a module may have been added to it, so the count can move in mid-walk.
    """
    for _ in range(MAX_TRIES):
        if (result := outcome(runs, calls[number], fault, run, log)) != MISSED:
            return result
        shutil.rmtree(run)
        calls[:] = counted_anew(calls, plain_trace(runs, run, log))
        shutil.rmtree(run)
    return MISSED


def counted_anew(calls: list[Call], found: list[Call]) -> list[Call]:
    """The calls as a later trace numbers them; what it does not have stays as it is."""
    later = dict(zip(_identities(found), found, strict=True))
    return [later.get(identity, call) for identity, call in zip(_identities(calls), calls, strict=True)]


def _identities(calls: list[Call]) -> list[tuple[str, tuple[str, ...], int]]:
    seen, identities = Counter[tuple[str, tuple[str, ...]]](), []
    for call in calls:
        seen[call.name, call.paths] += 1
        identities.append((call.name, call.paths, seen[call.name, call.paths]))
    return identities


def _hit_life_problem(done: Done, fault: str) -> str:
    tail = done.output[-300:]
    if fault == "KILL":
        return "" if done.returncode == -9 else f"it ended with {done.returncode}"
    if "Traceback" in done.output or "unexpected" in done.output:
        return f"no clear message: {tail}"
    if done.returncode:
        return "" if done.returncode == 1 and "❌ ERROR: " in done.output else f"exit code {done.returncode}: {tail}"
    found = _RESUMED.search(done.output)
    if found is None or (found[1] != "6" and not (found[1] == "3" and "WARNING" in done.output)):
        return f"it did not go on from a checkpoint: {done.output[:300]}"
    return ""


def _newest_that_verifies(run: Path) -> int:
    for step, path in list_checkpoints(run):
        try:
            verify_checkpoint(path)
        except WeathermanError:
            continue
        return step
    return 0


def _next_life_problem(done: Done, best: int) -> str:
    if done.returncode:
        return f"exit code {done.returncode}: {done.output[-300:]}"
    if "This run is finished" in done.output:
        return ""
    found = _RESUMED.search(done.output)
    if found is None or int(found[1]) != best:
        return f"it went on at {found[1] if found else 'zero'}, not at {best}: {done.output[:300]}"
    return ""


def order_problems(calls: list[Call], step: int) -> list[str]:
    """Where the trace of a save does not keep the order that a power cut asks for."""
    staging, problems = rf"RUN/\.staging-{step}-\d+", []
    texts = [f"{call.name} {call.text}" for call in calls]
    sealed = _place(texts, "rename", "manifest.json")
    final = _place(texts, "rename", f'RUN/checkpoint-{step}"')
    for name in CHECKPOINT_FILES:
        forced = [index for index, text in enumerate(texts) if re.match(rf"fsync \d+<{staging}/{name}>", text)]
        if not forced or forced[0] > sealed:
            problems.append(f"{name} is not forced to the disk before the manifest")
        opened = rf'openat .*"{staging}/{name}", O_(WRONLY|RDWR)'
        if forced and any(re.match(opened, text) for text in texts[forced[0] : final]):
            problems.append(f"{name} is written again after it was forced to the disk")
    if not any(re.match(rf"fsync \d+<{staging}>", text) for text in texts[sealed:final]):
        problems.append("the staging folder is not forced to the disk before it is renamed")
    if not any(re.match(r"fsync \d+<RUN>", text) for text in texts[final:]):
        problems.append("the run's folder is not forced to the disk after the rename")
    return problems


def _place(texts: list[str], name: str, part: str) -> int:
    return next(index for index, text in enumerate(texts) if text.startswith(f"{name} ") and part in text)


def walk(share: Share) -> list[tuple[str, int, str]]:
    """Hit each case of a share; each with its result."""
    runs, calls, results = FaultRuns(share.root, SETTINGS), list(share.calls), []
    for fault, number in share.cases:
        if time.monotonic() > share.until_s:
            break
        run = share.root / f"{fault}-{number}"
        result = outcome_of_tries(runs, calls, number, fault, run, share.root / "life.log")
        results.append((fault, number, result))
        if result.startswith("WRONG") or result == MISSED:
            call = calls[number]
            print(f"{fault} at {call.name} {call.nth} {call.text[:150]}: {result}", flush=True)
        if not result.startswith("WRONG"):
            shutil.rmtree(run, ignore_errors=True)
    runs.close()
    return results


def plain_trace(runs: FaultRuns, run: Path, log: Path) -> list[Call]:
    """The calls of a life without faults.

    Raises:
        RuntimeError: it did not end well.
    """
    done = trace(runs, runs.died(DIED, run), log)
    if done.returncode:
        raise RuntimeError(done.output)
    return calls_on(run, log)


def main() -> int:
    """Walk; 0 if every case was hit and nothing is wrong."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--faults", default=",".join(FAULTS))
    parser.add_argument("--jobs", type=int, default=1, help="lives at the same time")
    parser.add_argument("--minutes", type=float, default=60, help="what is not hit by then is left out")
    parser.add_argument("--seed", type=int, default=1, help="of the order")
    parser.add_argument("--write-page", action="store_true", help="put the figures into docs/reliability.md")
    options = parser.parse_args()
    root, began_s = Path(tempfile.mkdtemp(prefix="weatherman-walk-")), time.monotonic()
    runs = FaultRuns(root / "first", SETTINGS)
    calls = plain_trace(runs, root / "traced", root / "trace.log")
    runs.close()
    problems = order_problems(calls, 9)
    print(f"{len(calls)} calls touch the run's folder; order: {problems or 'right'}", flush=True)
    cases = [(fault, number) for number in range(len(calls)) for fault in options.faults.split(",")]
    random.Random(options.seed).shuffle(cases)
    until_s = began_s + 60 * options.minutes
    shares = [
        Share(root / f"worker-{job}", tuple(calls), tuple(cases[job :: options.jobs]), until_s)
        for job in range(options.jobs)
    ]
    with multiprocessing.get_context("spawn").Pool(options.jobs) as pool:
        results = [result for share in pool.map(walk, shares) for result in share]
    num_wrong = len(problems) + sum(result.startswith("WRONG") for _, _, result in results)
    num_missed = sum(result == MISSED for _, _, result in results)
    took_s = time.monotonic() - began_s
    summary = (
        f"{len(calls)} calls, {len(cases)} cases, {len(results)} tried ({len(results) / len(cases):.0%}): "
        f"{len(results) - num_missed} hit and confirmed, {num_wrong} wrong, {num_missed} not hit in {MAX_TRIES} lives; "
        f"{took_s:.0f} s"
    )
    rows = _rows((calls[number].name, fault, result) for fault, number, result in results)
    print(f"{summary}\n{table(_HEAD, rows)}")
    if num_wrong:
        print(f"the folders are kept in {root}")
        return 1
    if options.write_page:
        _write_page(summary, options, rows)
    shutil.rmtree(root)
    return 1 if num_missed else 0


def _write_page(summary: str, options: argparse.Namespace, rows: list[list[object]]) -> None:
    command = f"python tests/support/syscall_walk.py --jobs {options.jobs}"
    command += f" --minutes {options.minutes:g} --seed {options.seed}"
    if options.faults != ",".join(FAULTS):
        command += f" --faults {options.faults}"
    replace_section(
        "syscalls",
        f"`{command}`, {time.strftime('%Y-%m-%d')}: {summary}. The order of the calls that a power cut asks for is "
        f"asserted from the same trace.\n\n{table(_HEAD, rows)}\n\n"
        "*survived*: this very life went on, with a warning where it lost something, and ended the same. *told*: it ended "
        "with exit code 1 and one clear line; the next one went on and ended the same.",
    )


_HEAD = (
    "system call", "killed, went on", "ENOSPC survived", "ENOSPC told, went on", "EIO survived", "EIO told, went on",
    "never hit",
)  # fmt: skip


def _rows(results: Iterable[tuple[str, str, str]]) -> list[list[object]]:
    tally = Counter(results)
    names = [name for name in CALLS if any(key[0] == name for key in tally)]
    errors = [(fault, result) for fault in ("ENOSPC", "EIO") for result in (SURVIVED, TOLD)]
    return [
        [
            f"`{name}`",
            *(tally[name, fault, result] for fault, result in (("KILL", DIED_THERE), *errors)),
            sum(tally[name, fault, MISSED] for fault in FAULTS),
        ]
        for name in names
    ]


if __name__ == "__main__":
    sys.exit(main())
