"""Which process is which: pids are reused, so a process is named by boot, pid and start."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from weatherman.system.clock import boot_id


def identity(pid: int) -> str | None:
    """Name a process as no later one with the same pid is named; no change of the clock touches it.

    Args:
        pid: the process's id on this machine.

    Returns:
        Boot id, pid and start; None if there is no such process, or only its zombie.
    """
    if sys.platform == "linux":
        fields = _linux_stat(pid)
        if len(fields) < 20 or fields[0] in "ZX":
            return None
        return f"{boot_id()}:{pid}:{fields[19]}"
    state, _, started = _ps(pid, "stat=,lstart=").partition(" ")
    return f"{boot_id()}:{pid}:{started.strip()}" if started and not state.startswith("Z") else None


def is_suspended(pid: int) -> bool:
    """Whether a process is stopped by a signal (SIGSTOP, Ctrl-Z)."""
    if sys.platform == "linux":
        return _linux_stat(pid)[:1] in (["T"], ["t"])
    return _ps(pid, "stat=").startswith("T")


def _linux_stat(pid: int) -> list[str]:
    """Read /proc/<pid>/stat from after the command's name: the state first, the start in clock ticks the 20th."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text(errors="replace")
    except OSError:
        return []
    return text.rpartition(")")[2].split()


def _ps(pid: int, columns: str) -> str:
    environment = {**os.environ, "LC_ALL": "C", "TZ": "UTC"}
    command = ["ps", "-o", columns, "-p", str(pid)]
    try:
        result = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
    except OSError:
        return ""
    return result.stdout.strip()
