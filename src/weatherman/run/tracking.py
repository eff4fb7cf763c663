"""Experiment trackers behind one small face: wandb, trackio, or none. A tracker's failure never stops a run.

The run's own record is `events.jsonl`; a tracker is a copy of it for people.
"""

from __future__ import annotations

import os
import socket
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal, Protocol
from urllib.parse import urlparse

from weatherman import messages

_CONNECT_TIMEOUT_S = 3.0
_LOG_PATIENCE_S = 60.0
_FINISH_PATIENCE_S = 120.0
_DEFAULT_WANDB_URL = "https://api.wandb.ai"


class Tracker(Protocol):
    """Where metrics go."""

    @property
    def url(self) -> str | None:
        """Where a person can look, if anywhere."""

    def log(self, step: int, metrics: dict[str, float]) -> None:
        """Send one step's metrics."""

    def finish(self, exit_code: int) -> None:
        """Close the run."""


class NoTracker:
    """Sends nothing anywhere."""

    url: str | None = None

    def log(self, step: int, metrics: dict[str, float]) -> None:
        """Do nothing."""

    def finish(self, exit_code: int) -> None:
        """Do nothing."""


class GuardedTracker:
    """Wraps a tracker's calls: the first failure is told, and the tracker is left alone from then on."""

    def __init__(self, name: str, url: str | None, log: Callable[..., Any], finish: Callable[[int], Any]) -> None:
        self.url = url
        self._name, self._log, self._finish, self._broken = name, log, finish, False

    def log(self, step: int, metrics: dict[str, float]) -> None:
        """Send one step's metrics."""
        self._guard(lambda: self._log(metrics, step=step), _LOG_PATIENCE_S)

    def finish(self, exit_code: int) -> None:
        """Close the run; what a lost server has not taken by then stays behind."""
        self._guard(lambda: self._finish(exit_code), _FINISH_PATIENCE_S)

    def _guard(self, call: Callable[[], Any], patience_s: float) -> None:
        if self._broken:
            return
        problems: list[BaseException] = []

        def work() -> None:
            try:
                call()
            except Exception as problem:  # a tracker is somebody else's code: whatever it throws must not stop training
                problems.append(problem)

        # In a thread, since it may also wait for ever for a server that went away.
        worker = threading.Thread(target=work, name="tracker", daemon=True)
        worker.start()
        worker.join(patience_s)
        if worker.is_alive():
            problems.append(TimeoutError(f"no answer for {patience_s:.0f} s"))
        if problems:
            self._broken = True
            messages.warning(f"{self._name} failed ({problems[0]}); training goes on, events.jsonl has every metric.")


def reachable(url: str, timeout_s: float = _CONNECT_TIMEOUT_S) -> bool:
    """Whether a TCP connection to the server of `url` can be made within `timeout_s` seconds."""
    parts = urlparse(url)
    try:
        port = parts.port or (443 if parts.scheme == "https" else 80)
        with socket.create_connection((parts.hostname or "", port), timeout=timeout_s):
            return True
    except (OSError, ValueError):
        return False


def wandb_key_present() -> bool:
    """Whether W&B can log in without asking: by environment or netrc."""
    if os.environ.get("WANDB_API_KEY"):
        return True
    netrc = Path(os.environ.get("NETRC") or Path.home() / ".netrc")
    host = urlparse(os.environ.get("WANDB_BASE_URL", _DEFAULT_WANDB_URL)).hostname or ""
    try:
        return host in netrc.read_text()
    except (OSError, UnicodeDecodeError):
        return False


def wandb_mode() -> tuple[Literal["online", "offline", "disabled"], str]:
    """Decide, without logging in, how W&B can run.

    Returns:
        ("online" | "offline" | "disabled", the reason).
    """
    if (mode := os.environ.get("WANDB_MODE", "online")) != "online":
        return ("disabled" if mode == "disabled" else "offline"), f"WANDB_MODE={mode}"
    if not wandb_key_present():
        return "offline", "no API key (set WANDB_API_KEY; get one at https://wandb.ai/authorize)"
    url = os.environ.get("WANDB_BASE_URL", _DEFAULT_WANDB_URL)
    if not reachable(url):
        return "offline", f"{url} cannot be reached"
    return "online", ""


def start_tracker(
    kind: str, *, project: str, run_name: str, run_id: str, folder: Path, config: dict[str, Any]
) -> Tracker:
    """Open a tracker; the same `run_id` continues the same run after a resume.

    Args:
        kind: "wandb", "trackio" or "none".
        project: the tracker's project.
        run_name: the run's name for people.
        run_id: stable across resumes.
        folder: where an offline tracker keeps its files.
        config: logged with the run.

    Returns:
        The tracker; `NoTracker` with a warning if it cannot be opened.
    """
    openers = {"wandb": _start_wandb, "trackio": _start_trackio}
    if kind not in openers:
        return NoTracker()
    try:
        return openers[kind](project, run_name, run_id, folder, config)
    except Exception as problem:  # missing package, refused key, broken server: none of it may stop the run
        messages.warning(f"{kind} could not start ({problem}); training goes on, events.jsonl has every metric.")
        return NoTracker()


def _start_wandb(project: str, run_name: str, run_id: str, folder: Path, config: dict[str, Any]) -> Tracker:
    mode, reason = wandb_mode()
    if mode == "disabled":
        return NoTracker()
    if mode == "offline":
        messages.warning(f"W&B runs offline: {reason}. Later: wandb sync {folder / 'wandb'}/offline-run-*")
    import wandb

    settings = wandb.Settings(init_timeout=20, console="off", silent=True, disable_git=True, x_disable_stats=False)
    run = wandb.init(
        project=project, name=run_name, id=run_id, resume="allow", dir=str(folder), config=config,
        mode=mode, settings=settings,
    )  # fmt: skip
    return GuardedTracker("W&B", run.url or None, run.log, lambda code: run.finish(exit_code=code))


def _start_trackio(project: str, run_name: str, run_id: str, folder: Path, config: dict[str, Any]) -> Tracker:
    os.environ.setdefault("TRACKIO_DIR", str(folder / "trackio"))
    import trackio

    run = trackio.init(project=project, name=f"{run_name}-{run_id}", resume="allow", config=config, embed=False)
    return GuardedTracker("trackio", None, run.log, lambda _code: run.finish())
