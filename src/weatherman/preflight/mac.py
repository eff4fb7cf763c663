"""The Mac: Apple Silicon, its unified memory, and Metal."""

from __future__ import annotations

import re
from collections.abc import Iterator

from weatherman.preflight.compute_test import check_compute
from weatherman.preflight.finding import Finding, fail, ok, unknown, warn
from weatherman.preflight.probe import Probe
from weatherman.preflight.target import Target
from weatherman.preflight.unified_memory import (
    GIB,
    MIN_MEMORY_GB,
    RECOMMENDED_MEMORY_GB,
    SMALL_CONFIG,
    memory_bytes,
)


def check_mac(target: Target) -> Iterator[Finding]:
    """Judge the chip and its memory, then compute on Metal."""
    probe = target.probe
    chip = read_chip(probe)
    if chip is None:
        yield fail(
            "mac.chip", "system_profiler does not answer: this is not a Mac", "use ./setup_runpod_h100.sh or make train"
        )
        return
    if not chip.startswith("Apple"):
        yield fail(
            "mac.chip", f"{chip}: Apple Silicon (M1 or newer) is needed", "train the demo (make train), or rent an H100"
        )
        return
    yield ok("mac.chip", chip)
    answer = probe.run(["sysctl", "-n", "sysctl.proc_translated"])
    if answer and answer.code == 0 and answer.text.strip() == "1":
        text = "this Python is built for Intel and runs translated (Rosetta), without Metal"
        yield fail("mac.rosetta", text, "install an arm64 Python, for example: brew install python@3.11")
    yield check_memory(probe)
    yield check_compute(target, "mps")


def read_chip(probe: Probe) -> str | None:
    """The processor: "Apple M4 Pro", or an Intel Mac's; None where there is no system_profiler."""
    answer = probe.run(["system_profiler", "SPHardwareDataType"])
    if answer is None or answer.code != 0:
        return None
    found = re.search(r"^\s*(?:Chip|Processor Name):\s*(\S.*?)\s*$", answer.text, re.MULTILINE)
    return found[1] if found else None


def check_memory(probe: Probe) -> Finding:
    """16 GB at least, 32 recommended."""
    size = memory_bytes(probe)
    if size is None:
        return unknown("mac.memory", "sysctl does not tell how much memory there is")
    text = f"{size / GIB:.0f} GB of unified memory"
    demo = "train the demo here (make train) and the 7B model on an H100"
    if size < MIN_MEMORY_GB * GIB:
        return fail("mac.memory", f"{text}; at least {MIN_MEMORY_GB} GB are needed", demo)
    if size < RECOMMENDED_MEMORY_GB * GIB:
        text = f"{text}, {RECOMMENDED_MEMORY_GB} GB recommended"
        beside = "a 7B base in bfloat16 (13.5 GB) does not fit beside macOS, in 4 bits it does"
        return warn("mac.memory", f"{text}; {beside}", f"train with {SMALL_CONFIG}")
    return ok("mac.memory", text)
