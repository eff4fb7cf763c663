"""A Mac's night: kept awake, on mains, cool. What cannot be known on this machine is said, never guessed."""

from __future__ import annotations

import re
import statistics
import subprocess
import time
from collections import deque
from collections.abc import Callable
from typing import Any

from weatherman import messages
from weatherman.preflight.finding import Finding, ok, unknown, warn
from weatherman.preflight.probe import Probe
from weatherman.progress import format_duration
from weatherman.system.clock import since_boot_s

# NSProcessInfo.thermalState, asked through the scripting host that every macOS has.
_THERMAL_SCRIPT = "ObjC.import('Foundation'); $.NSProcessInfo.processInfo.thermalState"
THERMAL_STATES = ("nominal", "fair", "serious", "critical")
_HOT = 2
_THERMAL_EVERY_S = 60.0
_SLEEP_GAP_S = 30.0
_WINDOW_STEPS = 20
_SWAP_GROWTH_BYTES = 2**30
_SLOW, _RECOVERED = 0.7, 0.85
_COOL = "give it air (a stand, the lid open), a cooler room, and close other programs; training goes on"


def check_power(probe: Probe) -> list[Finding]:
    """Judge what a long run needs of a Mac besides memory: mains, and something that keeps it awake."""
    return [_check_mains(probe), _check_caffeinate(probe), _check_heat(probe), *_check_low_power(probe)]


def _check_mains(probe: Probe) -> Finding:
    code, answer = "mac.power", probe.run(["pmset", "-g", "batt"])
    source = re.search(r"drawing from '([^']+)'", answer.text) if answer and answer.code == 0 else None
    if answer is None or source is None:
        return unknown(code, "pmset does not tell whether the Mac is on mains")
    if source[1] != "Battery Power":
        return ok(code, f"the Mac is on mains ({source[1]})")
    left = re.search(r"(\d+)%", answer.text)
    text = "the Mac runs on its battery" + (f" ({left[1]}% left)" if left else "")
    return warn(code, f"{text}, which cannot last a training run", "plug it in; the run resumes if it dies")


def _check_low_power(probe: Probe) -> list[Finding]:
    answer = probe.run(["pmset", "-g"])
    found = re.search(r"^\s*lowpowermode\s+(\d)", answer.text, re.MULTILINE) if answer and answer.code == 0 else None
    if found is None or found[1] == "0":
        return []
    return [
        warn("mac.low-power", "Low Power Mode is on, and slows the GPU down", "System Settings, Battery: turn it off")
    ]


def swap_bytes(probe: Probe) -> int | None:
    """What macOS has moved from memory to the disk; None where it cannot be known."""
    answer = probe.run(["sysctl", "-n", "vm.swapusage"])
    found = re.search(r"used = ([\d.]+)M", answer.text) if answer and answer.code == 0 else None
    return int(float(found[1]) * 2**20) if found else None


def _check_caffeinate(probe: Probe) -> Finding:
    if probe.which("caffeinate"):
        return ok("mac.caffeinate", "caffeinate keeps the Mac awake while it trains (with the lid open)")
    return unknown("mac.caffeinate", "caffeinate is not here, so nothing keeps this machine awake")


def _check_heat(probe: Probe) -> Finding:
    state, code = thermal_state(probe), "mac.heat"
    if state is None:
        return unknown(code, "the thermal state cannot be read; throughput is watched all the same")
    text = f"the thermal state is {THERMAL_STATES[state]}"
    return ok(code, text) if state < _HOT else warn(code, f"{text} before training has begun", _COOL)


def thermal_state(probe: Probe) -> int | None:
    """The thermal state, 0 (nominal) to 3 (critical); None where it cannot be known."""
    answer = probe.run(["osascript", "-l", "JavaScript", "-e", _THERMAL_SCRIPT], 10.0)
    text = answer.text.strip() if answer and answer.code == 0 else ""
    return int(text) if text in ("0", "1", "2", "3") else None


def keep_awake(pid: int) -> subprocess.Popen[bytes] | None:
    """Keep the Mac from sleeping as long as a process lives; None, with a warning, if that is not possible."""
    command = ["caffeinate", "-i", "-s", "-w", str(pid)]
    try:
        return subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
            start_new_session=True,
        )  # fmt: skip
    except OSError as problem:
        messages.warning(f"caffeinate cannot be started ({problem.strerror}); this machine may fall asleep.")
        return None


class Health:
    """Watches a long run on a Mac: sleep, heat, swapping, falling throughput. Each is told once until it is over.

    Args:
        probe: how the machine is asked.
        awake_s: a clock that stands still while the machine sleeps.
        all_s: a clock that does not. Nobody can set either of them.
    """

    def __init__(
        self,
        probe: Probe,
        *,
        awake_s: Callable[[], float] = time.monotonic,
        all_s: Callable[[], float] = since_boot_s,
    ) -> None:
        self._probe, self._awake_s, self._all_s = probe, awake_s, all_s
        self._last_awake_s, self._last_all_s = awake_s(), all_s()
        self._asked_s = awake_s()
        self._can_ask, self._hot, self._slow, self._swapping = True, False, False, False
        self._swap_bytes = swap_bytes(probe)
        self._window: deque[float] = deque(maxlen=_WINDOW_STEPS)
        self._best = 0.0

    def poll(self) -> None:
        """Look at the clocks, and now and then at the thermal state and at what is swapped."""
        awake_s, all_s = self._awake_s(), self._all_s()
        slept_s = (all_s - self._last_all_s) - (awake_s - self._last_awake_s)
        self._last_awake_s, self._last_all_s = awake_s, all_s
        if slept_s > _SLEEP_GAP_S:
            messages.warning(
                f"This machine slept for {format_duration(slept_s)} and did not train meanwhile. "
                "Hint: keep the lid open and the power plugged in."
            )
        if awake_s - self._asked_s >= _THERMAL_EVERY_S:
            self._asked_s = awake_s
            if self._can_ask:
                self._look_at_heat()
            self._look_at_swap()

    def _look_at_swap(self) -> None:
        now = swap_bytes(self._probe) if self._swap_bytes is not None else None
        if now is None or self._swap_bytes is None:
            return
        grown = now - self._swap_bytes
        if grown > _SWAP_GROWTH_BYTES and not self._swapping:
            messages.warning(
                f"The Mac swaps: {grown / 2**30:.1f} GB more than when training began, which is slow. Hint: close "
                "other programs; or stop it and go on with half the max_tokens_per_chunk."
            )
        self._swapping = grown > _SWAP_GROWTH_BYTES

    def _look_at_heat(self) -> None:
        state = thermal_state(self._probe)
        self._can_ask = state is not None
        hot = state is not None and state >= _HOT
        if hot and not self._hot:
            messages.warning(
                f"The Mac is hot (thermal state {THERMAL_STATES[state or 0]}) and slows down. Hint: {_COOL}."
            )
        self._hot = hot

    def see(self, event: dict[str, Any]) -> None:
        """Take in an event of the run."""
        speed = event.get("tokens_per_s")
        if event["kind"] != "step" or not isinstance(speed, (int, float)):
            return
        self._window.append(speed)
        if len(self._window) < _WINDOW_STEPS:
            return
        now = statistics.median(self._window)
        self._best = max(self._best, now)
        if now < _SLOW * self._best and not self._slow:
            self._slow = True
            messages.warning(
                f"Throughput fell to {now:.0f} tokens/s, {now / self._best:.0%} of this run's best. Hint: {_COOL}."
            )
        elif now > _RECOVERED * self._best:
            self._slow = False
