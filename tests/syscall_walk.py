"""Walk through the system calls of a life: at each one that touches the run's folder, die, or get ENOSPC, or EIO.

Usage: python tests/syscall_walk.py [--part 0 --parts 1] [--faults KILL,ENOSPC,EIO] [--write-page]

A run that died with checkpoints 3 and 6 is started again under strace. The first trace, without faults, says which
calls touch the run's folder; then each of them is hit in a life of its own, which strace's log must confirm. The same
command then goes on: it must resume from a checkpoint, and end with the untouched run's adapter and losses.
"""

from __future__ import annotations

import argparse
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from fault_runs import FaultRuns
from fork_server import Done
from reliability_page import replace_section, table

CALLS = ("openat", "write", "fsync", "rename", "renameat2", "unlink", "unlinkat", "mkdir", "rmdir")
FAULTS = ("KILL", "ENOSPC", "EIO")
CHECKPOINT_FILES = ("adapter_config.json", "adapter_model.safetensors", "optimizer.safetensors", "state.json")
SETTINGS = ("max_steps=9",)
DIED = "step 8"
# An old checkpoint goes only once two newer ones verify; a lock that cannot be deleted is a dead process's.
HARMLESS = ("", "left over or missing: checkpoint-3", "left over or missing: run.lock")
_LINE = re.compile(r"(\d+) +(\w+)\((.*)")


@dataclass(frozen=True, slots=True)
class Call:
    """The `nth` call of `name` in a life's main thread (from 1), and what it was."""

    name: str
    nth: int
    text: str


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


def calls_on(run: Path, log: Path) -> list[Call]:
    """The main thread's calls that name something below the run's folder."""
    found, counts, main = [], Counter[str](), ""
    for line in log.read_text(encoding="utf-8", errors="replace").splitlines():
        if match := _LINE.match(line):
            main = main or match[1]
            if match[1] == main:
                counts[match[2]] += 1
                if str(run) in match[3]:
                    found.append(Call(match[2], counts[match[2]], match[3].replace(str(run), "RUN")))
    return found


def outcome(runs: FaultRuns, call: Call, fault: str, run: Path, log: Path) -> str:
    """Hit one call of one life, go on, and say what happened; what is wrong begins with WRONG."""
    what = "signal=KILL" if fault == "KILL" else f"error={fault}"
    runs.died(DIED, run)
    done = trace(runs, run, log, f"{call.name}:{what}:when={call.nth}")
    if not _was_hit(run, log, fault):
        return "missed"
    if fault == "KILL" and done.returncode != -9:
        return f"WRONG: it ended with {done.returncode}"
    if "Traceback" in done.output or "unexpected" in done.output:
        return f"WRONG: no clear refusal: {done.output[-300:]}"
    first = "survived"
    if done.returncode:
        first = "died" if fault == "KILL" else "said so, exit 1"
        if fault != "KILL" and (done.returncode != 1 or "❌ ERROR: " not in done.output):
            return f"WRONG: exit code {done.returncode}: {done.output[-300:]}"
        done = runs.train(run)
        finished_before = "This run is finished" in done.output
        if done.returncode or not (finished_before or "RESUME: Found checkpoint at step " in done.output):
            return f"WRONG: the next life: {done.returncode}: {done.output[-300:]}"
    difference = runs.difference(run)
    if difference not in HARMLESS:
        return f"WRONG: {difference}"
    return first


def _was_hit(run: Path, log: Path, fault: str) -> bool:
    lines = log.read_text(encoding="utf-8", errors="replace").splitlines()
    if fault == "KILL":
        return any("killed by SIGKILL" in line for line in lines) and str(run) in _last_call(lines)
    return any("(INJECTED)" in line and str(run) in line for line in lines)


def _last_call(lines: list[str]) -> str:
    main = lines[0].split()[0]
    return next((line for line in reversed(lines) if line.startswith(main + " ") and "+++" not in line), "")


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
    return next(index for index, text in enumerate(texts) if text.startswith(name) and part in text)


def main() -> int:
    """Walk; 0 if nothing is wrong."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--faults", default=",".join(FAULTS))
    parser.add_argument("--part", type=int, default=0, help="which of the parts")
    parser.add_argument("--parts", type=int, default=1, help="hit every so-manieth call only")
    parser.add_argument("--write-page", action="store_true", help="put the figures into docs/reliability.md")
    options = parser.parse_args()
    root, began_s = Path(tempfile.mkdtemp(prefix="weatherman-walk-")), time.monotonic()
    runs = FaultRuns(root, SETTINGS)
    run = runs.died(DIED, root / "traced")
    done = trace(runs, run, root / "trace.log")
    calls = calls_on(run, root / "trace.log")
    problems = order_problems(calls, 9)
    print(f"exit code {done.returncode}; {len(calls)} calls touch the run's folder; order: {problems or 'right'}")
    tally, wrong = Counter[tuple[str, str, str]](), list(problems)
    for fault in options.faults.split(","):
        for number, call in enumerate(calls):
            if number % options.parts != options.part:
                continue
            for _ in range(3):
                copy = root / f"{fault}-{number}"
                shutil.rmtree(copy, ignore_errors=True)
                result = outcome(runs, call, fault, copy, root / "life.log")
                if result != "missed":
                    break
            tally[call.name, fault, result.split(":")[0]] += 1
            if result.startswith("WRONG"):
                wrong.append(f"{fault} at {call.name} {call.nth} {call.text[:150]}: {result}")
                print(wrong[-1], flush=True)
            else:
                shutil.rmtree(copy)
    runs.close()
    summary = f"{sum(tally.values())} faults at {len(calls)} calls, {len(wrong)} wrong"
    print(f"{summary}, {time.monotonic() - began_s:.0f} s")
    rows = _rows(tally)
    print(table(_HEAD, rows))
    if wrong:
        print(f"the folders are kept in {root}")
        return 1
    if options.write_page:
        replace_section(
            "syscalls",
            f"`python tests/syscall_walk.py --parts {options.parts}`, {time.strftime('%Y-%m-%d')}: {summary}. The order of the calls that a "
            f"power cut asks for is asserted from the same trace.\n\n{table(_HEAD, rows)}",
        )
    shutil.rmtree(root)
    return 0


_HEAD = ("system call", "killed, then went on", "error survived", "error told, then went on", "not hit")


def _rows(tally: Counter[tuple[str, str, str]]) -> list[list[object]]:
    def total(name: str, result: str) -> int:
        return sum(count for (call, _, told), count in tally.items() if (call, told) == (name, result))

    names = [name for name in CALLS if any(key[0] == name for key in tally)]
    return [
        [f"`{name}`", *(total(name, one) for one in ("died", "survived", "said so, exit 1", "missed"))]
        for name in names
    ]


if __name__ == "__main__":
    sys.exit(main())
