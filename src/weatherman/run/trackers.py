"""The trackers that metrics can be sent to: W&B, trackio, TensorBoard. Each opens one run that goes on after a resume.

Runs can be compared: all of a project are in one place. For trackio that is one store beside the runs' folders, for
TensorBoard the folder that they all are in, and W&B's server has its own.
"""

from __future__ import annotations

import contextlib
import importlib.util
import io
import os
import shlex
import socket
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal
from urllib.parse import urlparse

from weatherman import messages

Rows = Sequence[Mapping[str, str]]
TRACKIO_STORE = "trackio"
TENSORBOARD_FOLDER = "tensorboard"
_MODULES = {"wandb": "wandb", "trackio": "trackio", "tensorboard": "tensorboardX"}
_PACKAGES = {"wandb": "wandb", "trackio": "trackio", "tensorboard": "tensorboardX tensorboard"}
_CONNECT_TIMEOUT_S = 3.0
_DEFAULT_WANDB_URL = "https://api.wandb.ai"


@dataclass(frozen=True, slots=True)
class Opened:
    """A tracker's open run: what can be done with it, and where a person looks.

    Attributes:
        name: of the tracker, for people.
        url: the run's page, if there is one.
        command: shows this run beside the others, if a command does.
        log: takes a step and its metrics.
        log_table: takes a step, a name and rows of text by column.
        finish: takes the exit code.
    """

    name: str
    url: str | None
    command: str | None
    log: Callable[[int, dict[str, float]], Any]
    log_table: Callable[[int, str, Rows], Any]
    finish: Callable[[int], Any]


@dataclass(frozen=True, slots=True)
class Wanted:
    """What a run tells its tracker: `run_id` is stable across resumes, `first_step` the next one of this attempt."""

    project: str
    run_name: str
    run_id: str
    folder: Path
    config: dict[str, Any]
    first_step: int = 1


def missing_package(kind: str) -> str | None:
    """Say that a tracker's package is not installed.

    Args:
        kind: a value of `report_to`.

    Returns:
        What is missing, in a sentence without its stop; None if the tracker can be used, or none is asked for.
    """
    module = _MODULES.get(kind)
    if module is None or (sys.modules[module] is not None if module in sys.modules else _findable(module)):
        return None
    return f"report_to is {kind} and the package {module} is not installed here; events.jsonl alone has the metrics"


def _findable(module: str) -> bool:
    return importlib.util.find_spec(module) is not None


def install_advice(kind: str) -> str:
    """What to do about a missing package."""
    return f"pip install {_PACKAGES[kind]}, or --set report_to=none"


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


def open_wandb(wanted: Wanted) -> Opened | None:
    """Open a run of W&B: on its server, else offline in the run's folder; None if it is disabled."""
    mode, reason = wandb_mode()
    if mode == "disabled":
        return None
    if mode == "offline":
        messages.warning(f"W&B runs offline: {reason}. Later: wandb sync {wanted.folder / 'wandb'}/offline-run-*")
    import wandb

    settings = wandb.Settings(init_timeout=20, console="off", silent=True, disable_git=True, x_disable_stats=False)
    run = wandb.init(
        project=wanted.project, name=wanted.run_name, id=wanted.run_id, resume="allow", dir=str(wanted.folder),
        config=wanted.config, mode=mode, settings=settings,
    )  # fmt: skip

    def log_table(step: int, name: str, rows: Rows) -> None:
        run.log({name: wandb.Table(columns=_columns(rows), data=[list(row.values()) for row in rows])}, step=step)

    return Opened(
        "W&B", run.url or None, None, lambda step, metrics: run.log(metrics, step=step), log_table,
        lambda code: run.finish(exit_code=code),
    )  # fmt: skip


def open_trackio(wanted: Wanted) -> Opened:
    """Open a run in the trackio store that all runs beside this one share (or in `TRACKIO_DIR`, where that is set)."""
    store = Path(os.environ.setdefault("TRACKIO_DIR", str(wanted.folder.absolute().parent / TRACKIO_STORE)))
    with contextlib.redirect_stdout(io.StringIO()):  # what it tells is not in the grammar of our lines
        import trackio

        run = trackio.init(
            project=wanted.project, name=f"{wanted.run_name}-{wanted.run_id}", resume="allow", config=wanted.config,
            embed=False,
        )  # fmt: skip

    def log_table(step: int, name: str, rows: Rows) -> None:
        run.log({name: trackio.Table(columns=_columns(rows), data=[list(row.values()) for row in rows])}, step=step)

    def finish(_code: int) -> None:
        with contextlib.redirect_stdout(io.StringIO()):
            run.finish()

    command = f"TRACKIO_DIR={shlex.quote(str(store))} trackio show --project {shlex.quote(wanted.project)}"
    return Opened("trackio", None, command, lambda step, metrics: run.log(metrics, step=step), log_table, finish)


def open_tensorboard(wanted: Wanted) -> Opened:
    """Open event files for TensorBoard in the run's folder; steps that a resume runs again replace the old ones."""
    from tensorboardX import SummaryWriter

    purge_step = wanted.first_step if wanted.first_step > 1 else None
    writer = SummaryWriter(str(wanted.folder / TENSORBOARD_FOLDER), purge_step=purge_step)
    writer.add_text("config", "\n".join(f"    {key}: {value}" for key, value in wanted.config.items()), 0)

    def log(step: int, metrics: dict[str, float]) -> None:
        for name, value in metrics.items():
            writer.add_scalar(name, value, step)
        writer.flush()

    def log_table(step: int, name: str, rows: Rows) -> None:
        for number, row in enumerate(rows, start=1):
            text = "\n\n".join(f"**{column}**\n\n{_quoted(value)}" for column, value in row.items())
            writer.add_text(f"{name}/{number}", text, step)
        writer.flush()

    command = f"tensorboard --logdir {shlex.quote(str(wanted.folder.absolute().parent))}"
    return Opened("TensorBoard", None, command, log, log_table, lambda _code: writer.close())


def _columns(rows: Rows) -> list[Any]:
    return list(rows[0]) if rows else []


def _quoted(text: str) -> str:
    """Text as a block that Markdown leaves as it is."""
    return "\n".join(f"    {line}" for line in text.splitlines())


OPENERS: dict[str, Callable[[Wanted], Opened | None]] = {
    "wandb": open_wandb,
    "trackio": open_trackio,
    "tensorboard": open_tensorboard,
}
