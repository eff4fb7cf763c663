"""What is checked before a training is started: nothing runs already, the machine is ready, the plan fits."""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from weatherman import messages
from weatherman.checkpoints.resume import read_resume
from weatherman.config.schema import TrainingConfig
from weatherman.errors import WeathermanError
from weatherman.launch.detach import attach_command, has_session
from weatherman.launch.job import LaunchOptions
from weatherman.launch.power import check_power
from weatherman.launch.session_record import LOGS, RECORD_FILE, SESSION, read_record
from weatherman.launch.watch import Expectation, expect
from weatherman.planning.plan import make_plan
from weatherman.planning.plan_report import report_plan
from weatherman.preflight.config_check import device_bytes, planned
from weatherman.preflight.finding import Finding, as_rehearsal
from weatherman.preflight.report import report
from weatherman.preflight.runner import run_checks
from weatherman.preflight.target import Target
from weatherman.run.lock import LOCK_FILE, read_holder
from weatherman.system.own_command import own_command
from weatherman.system.process import identity


def refuse_if_running(run: Path, tag: str) -> None:
    """Start nothing beside a training that runs already; say how to look at it.

    Raises:
        WeathermanError: one runs.
    """
    record = read_record(Path(LOGS) / RECORD_FILE)
    alive = record is not None and record.is_alive
    in_tmux = has_session()
    holder = read_holder(run / LOCK_FILE)
    held = holder is not None and holder.is_local and identity(holder.pid) == holder.process is not None
    if not (alive or in_tmux or held):
        return
    if in_tmux:
        text, look = f"training already runs in the tmux session {SESSION}", attach_command()
    elif record is not None and alive:
        text, look = f"training already runs (process {record.pid})", f"tail -f {shlex.quote(record.log)}"
    else:
        text = f"a trainer already works in {run} (process {holder.pid if holder else 0})"
        look = own_command("status", str(run))
    if record is not None and alive:
        messages.say(tag, f"Log: tail -f {shlex.quote(record.log)}")
        messages.say(tag, f"Status: {own_command('status', record.run)}")
    raise WeathermanError("launch.running", f"{text}; nothing was started.", look)


def is_finished(run: Path) -> bool:
    """Whether the run is complete; one that cannot be read is not, and its start says what is wrong."""
    try:
        state = read_resume(run)
    except WeathermanError:
        return False
    return state is not None and state.finished


def preflight(options: LaunchOptions, overrides: Sequence[str]) -> bool:
    """Run all checks, show them, and tell whether training may begin."""
    target = Target(options.platform, options.config, tuple(overrides), options.rehearse)

    def findings() -> Iterator[Finding]:
        for finding in run_checks(target):
            yield _must_survive(finding) if options.auto_stop_pod and not options.rehearse else finding
        if options.platform == "m4":
            for finding in check_power(target.probe):
                yield as_rehearsal(finding) if options.rehearse else finding

    return report(findings()) == 0


def _must_survive(finding: Finding) -> Finding:
    """A pod that is stopped by itself must not take the adapter with it."""
    if finding.code == "storage.volume" and finding.verdict == "warn":
        return replace(finding, verdict="fail", fix=f"{finding.fix}; or leave --auto-stop-pod out")
    return finding


def plan(options: LaunchOptions, config: TrainingConfig, overrides: Sequence[str]) -> Expectation | None:
    """Show the plan.

    Returns:
        What it lets one expect; None if it cannot fit.

    Raises:
        WeathermanError: the data cannot be read.
    """
    target = Target(options.platform, options.config, tuple(overrides), options.rehearse)
    try:
        made = make_plan(planned(target, config), device_bytes=device_bytes(target))
    except WeathermanError as problem:
        if problem.code != "plan.model":  # data that cannot be read will not be read by the trainer either
            raise
        messages.warning(f"No plan can be made, so the speed is not judged: {problem}")
        return Expectation()
    if report_plan(made) != 0:
        return None
    judge_speed = options.platform != "cpu" and not options.rehearse
    return expect(made.time_s[1], made.num_steps, made.num_tokens * made.num_epochs, judge_speed=judge_speed)
