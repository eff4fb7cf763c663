"""What `weatherman launch` was asked for, and the job that it becomes."""

from __future__ import annotations

import datetime
import os
import secrets
import shlex
import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from weatherman.config.schema import TrainingConfig, load_config
from weatherman.errors import WeathermanError
from weatherman.launch.rehearsal import as_override, rehearsal_overrides
from weatherman.launch.session_record import LOGS, Job
from weatherman.preflight.probe import SystemProbe
from weatherman.preflight.target import Platform, default_config
from weatherman.run.tracking import CHECKED_VARIABLE

NAMES: dict[Platform, str] = {"h100": "H100", "m4": "M4", "cpu": "DEMO"}
_SCRIPTS: dict[Platform, str] = {"h100": "train_h100_runpod.sh", "m4": "train_m4_local.sh"}
_LOG_NAMES: dict[Platform, str] = {"h100": "training_", "m4": "training_m4_", "cpu": "training_demo_"}


@dataclass(frozen=True, slots=True)
class LaunchOptions:
    """What `weatherman launch` was asked for; its `--help` explains each."""

    platform: Platform
    config: Path | None = None
    overrides: tuple[str, ...] = ()
    project: Path = Path()
    foreground: bool = False
    watch: bool = True
    auto_stop_pod: bool = False
    hourly_rate: float | None = None
    restarts: int = 0
    rehearse: bool = False
    reset_crash_loop: bool = False

    @property
    def tag(self) -> str:
        """The tag of this platform's lines."""
        return f"TRAINING-{NAMES[self.platform]}"


def enter_project(options: LaunchOptions) -> LaunchOptions:
    """Go to the project's folder; a configuration that is there from the caller's folder is meant so.

    Raises:
        WeathermanError: there is no such folder.
    """
    config = options.config
    if config is not None and config.exists():
        config = config.absolute()
    project = options.project.absolute()
    try:
        os.chdir(project)
    except OSError as problem:
        raise WeathermanError("launch.project", f"{project} cannot be entered: {problem.strerror}.") from problem
    return replace(options, config=config or default_config(options.platform, SystemProbe()), project=project)


def settle(options: LaunchOptions) -> tuple[TrainingConfig, list[str]]:
    """The configuration in force, and the `key=value` texts that make it of the file.

    Raises:
        WeathermanError: the configuration cannot be used.
    """
    assert options.config is not None
    overrides: list[str] = []
    if options.rehearse:
        overrides += rehearsal_overrides(load_config(options.config))
    overrides += options.overrides
    if options.hourly_rate is not None:
        overrides.append(as_override("hourly_rate", options.hourly_rate))
    config = load_config(options.config, overrides)
    # A date in the folder's name is settled here, once: the trainer may start on the next day.
    return config, [*overrides, as_override("output_dir", config.output_dir)]


def make_job(options: LaunchOptions, overrides: Sequence[str], run: Path) -> Job:
    """Describe what the session is to do, and make the log's folder.

    Raises:
        WeathermanError: the log cannot be written.
    """
    log = options.project / LOGS / f"{_LOG_NAMES[options.platform]}{datetime.datetime.now():%Y%m%d_%H%M%S}.log"
    try:
        log.parent.mkdir(exist_ok=True)
        log.open("ab").close()
    except OSError as problem:
        text = f"the log {log} cannot be written: {problem.strerror}."
        raise WeathermanError(
            "launch.log", text, "make the folder writable and see that its disk has space."
        ) from problem
    command = [sys.executable, "-m", "weatherman.cli", "train", "--config", str(options.config)]
    for override in overrides:
        command += ["--set", override]
    if options.reset_crash_loop:
        command.append("--reset-crash-loop")
    environ = {**os.environ, "WEATHERMAN_COMMAND": same_command(options), CHECKED_VARIABLE: "1", "PYTHONUTF8": "1"}
    how = "foreground" if options.foreground else "tmux"
    return Job(
        token=secrets.token_hex(8), how=how, command=command, environ=environ, folder=str(options.project),
        log=str(log), run=str(run), platform=NAMES[options.platform], restarts=options.restarts,
        auto_stop_pod=options.auto_stop_pod, rehearse=options.rehearse,
    )  # fmt: skip


def same_command(options: LaunchOptions) -> str:
    """The command that goes on with this run: the project's script where there is one."""
    script = options.project / _SCRIPTS.get(options.platform, "")
    words = [str(script)] if script.is_file() else ["weatherman", "launch", "--env", options.platform]
    if options.config not in (None, default_config(options.platform, SystemProbe())):
        words += ["--config", str(options.config)]
    for override in options.overrides:
        words += ["--set", override]
    flags = {
        "--foreground": options.foreground, "--no-watch": not options.watch, "--rehearse": options.rehearse,
        "--auto-stop-pod": options.auto_stop_pod,
    }  # fmt: skip
    words += [flag for flag, given in flags.items() if given]
    if options.hourly_rate is not None:
        words += ["--hourly-rate", f"{options.hourly_rate:g}"]
    if options.restarts:
        words += ["--restarts", str(options.restarts)]
    return shlex.join(words)
