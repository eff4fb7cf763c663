"""Time that can be trusted: the wall clock for people, the clock since boot for ages (nobody can set that one)."""

from __future__ import annotations

import datetime
import functools
import subprocess
import sys
import time
from pathlib import Path

UNKNOWN_BOOT = "unknown"


def now_utc() -> str:
    """Tell the present, ISO 8601 in UTC with milliseconds."""
    return datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="milliseconds")


def since_boot_s() -> float:
    """Seconds since this machine started, sleep included; the same clock in every process."""
    if sys.platform == "linux":
        return time.clock_gettime(time.CLOCK_BOOTTIME)
    return time.clock_gettime(time.CLOCK_MONOTONIC)


@functools.cache
def boot_id() -> str:
    """Name this start of this machine; two times since boot compare only if it is the same."""
    try:
        if sys.platform == "linux":
            return Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        command = ["sysctl", "-n", "kern.bootsessionuuid"]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip() or UNKNOWN_BOOT
    except (OSError, subprocess.CalledProcessError):
        return UNKNOWN_BOOT
