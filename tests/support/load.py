"""Large input: a long data file, a long run's events, a long conversation, many tools; measured.

Usage: python tests/support/load.py [--lines 1000000] [--events 100000] [--write-page]
"""

from __future__ import annotations

import argparse
import json
import resource
import shutil
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from random import Random
from typing import Any

from reliability_page import replace_section, table
from tiny_model import TOOL, conversation
from weatherman.checkpoints.resume import begin_attempt
from weatherman.data.read import check_file
from weatherman.run.events import EventLog, StatusFile
from weatherman.run.status import RunStatus, read_status


def write_lines(path: Path, num_lines: int) -> None:
    """Write a data file of that many valid conversations, all different."""
    rng, block = Random(3), []
    with path.open("w", encoding="utf-8") as file:
        for number in range(num_lines):
            block.append(json.dumps(conversation(rng, number)))
            if len(block) == 1000 or number == num_lines - 1:
                file.write("\n".join(block) + "\n")
                block.clear()


def write_events(run: Path, num_events: int) -> None:
    """Make a run's folder with that many step events, and a heartbeat."""
    run.mkdir()
    begin_attempt(run)
    StatusFile(run, 1, "weatherman train").write(state="running", step=num_events, total=2 * num_events, loss=1.5)
    log = EventLog(run, 1)
    log.emit("step", step=0, epoch=0, learning_rate=1e-4, loss=1.5, grad_norm=0.5, tokens_per_s=1e3)
    line = (run / "events.jsonl").read_bytes()
    with (run / "events.jsonl").open("ab") as file:
        for step in range(1, num_events):
            file.write(line.replace(b'"step": 0', b'"step": %d' % step))


def long_conversation(num_chars: int) -> dict[str, Any]:
    """A row whose answer has that many characters."""
    words = " ".join(f"{number} degrees in Lisbon," for number in range(num_chars // 8))
    messages = [
        {"role": "user", "content": "Tell me all."},
        {"role": "assistant", "content": words[:num_chars].strip()},
    ]
    return {"messages": messages, "metadata": {"id": "long"}}


def many_tools(num_tools: int) -> dict[str, Any]:
    """A row that declares that many tools and calls the last."""
    tools = [json.loads(json.dumps(TOOL).replace("get_weather", f"get_weather_{n}")) for n in range(num_tools)]
    row = conversation(Random(1), 1)
    row["messages"][2]["tool_calls"][0]["function"]["name"] = f"get_weather_{num_tools - 1}"
    return {**row, "tools": tools}


def bytes_read() -> int:
    """Bytes that this process has read so far."""
    facts = dict(line.split(": ") for line in Path("/proc/self/io").read_text().splitlines())
    return int(facts["rchar"])


def peak_bytes() -> int:
    """The most memory this process has used."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def least_s(call: Callable[[], object], repeats: int = 9) -> float:
    """The least duration of a call: what it takes when nothing else runs."""
    times = []
    for _ in range(repeats):
        began_s = time.perf_counter()
        call()
        times.append(time.perf_counter() - began_s)
    return min(times)


def main() -> int:
    """Measure, and say it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--lines", type=int, default=1_000_000)
    parser.add_argument("--events", type=int, default=100_000)
    parser.add_argument("--write-page", action="store_true", help="put the figures into docs/reliability.md")
    options = parser.parse_args()
    root = Path(tempfile.mkdtemp(prefix="weatherman-load-"))
    write_lines(root / "data.jsonl", options.lines)
    size_mb = (root / "data.jsonl").stat().st_size / 2**20
    before_bytes, began_s, began_cpu_s = peak_bytes(), time.monotonic(), time.process_time()
    num_rows, problems = check_file(root / "data.jsonl")
    took_s, cpu_s = time.monotonic() - began_s, time.process_time() - began_cpu_s
    assert (num_rows, problems) == (options.lines, [])
    growth_mb = (peak_bytes() - before_bytes) / 2**20
    write_events(root / "run", options.events)
    events_mb = (root / "run" / "events.jsonl").stat().st_size / 2**20
    read_before = bytes_read()
    status: RunStatus = read_status(root / "run")
    read_kb = (bytes_read() - read_before) / 1024
    assert status.step == options.events
    status_s = least_s(lambda: read_status(root / "run"))
    rows = [
        (f"validation of a data file of {num_rows:,} lines ({size_mb:.0f} MB)",
         f"{num_rows / cpu_s:,.0f} lines per CPU second ({took_s:.0f} s on a busy machine)"),
        ("… growth of the peak memory of the process", f"{growth_mb:.0f} MB"),
        (f"status of a run with {options.events:,} events ({events_mb:.0f} MB)",
         f"{status_s * 1000:.1f} ms, {read_kb:.0f} KB read"),
    ]  # fmt: skip
    print(table(("what", "figure"), rows))
    if options.write_page:
        replace_section(
            "load",
            f"`python tests/support/load.py --lines {options.lines} --events {options.events}`, {time.strftime('%Y-%m-%d')}:\n\n{table(('what', 'figure'), rows)}",
        )
    shutil.rmtree(root)
    return 0


if __name__ == "__main__":
    sys.exit(main())
