"""`weatherman launch`: check, start training where no closed terminal can reach it, watch its first steps."""

from __future__ import annotations

import shlex
import shutil
import sys
import time
from dataclasses import replace
from pathlib import Path

from weatherman import messages
from weatherman.errors import EXIT_FAILED, WeathermanError
from weatherman.launch import pod
from weatherman.launch.checks import is_finished, plan, preflight, refuse_if_running
from weatherman.launch.detach import attach_command, has_session, start_detached
from weatherman.launch.first_steps import FirstSteps
from weatherman.launch.follow import Follower, file_size
from weatherman.launch.job import LaunchOptions, enter_project, make_job, settle
from weatherman.launch.session import supervise
from weatherman.launch.session_record import SESSION, Job, SessionRecord, read_record
from weatherman.launch.watch import Watch
from weatherman.run.events import EVENTS_FILE
from weatherman.run.finished import refuse_another_run

__all__ = ["LaunchOptions", "launch"]
_RECORD_AFTER_S = 30.0


def launch(options: LaunchOptions) -> int:
    """Check, start and watch a training.

    Args:
        options: what is asked for. Paths of the configuration are relative to the project's folder.

    Returns:
        The exit code: 0 it goes well, is finished, or is no longer watched; 2 the crash loop; 129, 130 or 143 if a
        signal stopped the training; 1 anything else.

    Raises:
        WeathermanError: nothing was started.
    """
    options = enter_project(options)
    config, overrides = settle(options)
    run = Path(config.output_dir)
    refuse_if_running(run, options.tag)
    if is_finished(run):
        refuse_another_run(run, config)
        messages.success(f"This run is finished; its adapter is in {run / pod.ADAPTER}. Nothing was started")
        return 0
    if options.auto_stop_pod and not options.rehearse:
        pod.pod_id()
    messages.say(options.tag, "Checking this machine, the configuration and the accounts")
    if not preflight(options, overrides):
        messages.error(WeathermanError("launch.preflight", "Preflight failed; nothing was started.", "see above."))
        return EXIT_FAILED
    expected = plan(options, config, overrides)
    if expected is None:
        messages.error(WeathermanError("launch.plan", "The plan does not fit; nothing was started.", "see above."))
        return EXIT_FAILED
    job = make_job(options, overrides, run)
    if options.foreground:
        return supervise(job, sys.stdout)
    events, log = Follower(run / EVENTS_FILE, file_size(run / EVENTS_FILE)), Follower(Path(job.log))
    job = start(job)
    stop_command = tell_how_to_look(job, run)
    if not options.watch:
        messages.success("Training is started; nobody watches its first steps")
        return 0
    try:
        return FirstSteps(job, Watch(expected), events, log, stop_command).follow()
    except KeyboardInterrupt:
        messages.warning("No longer watching; training goes on by itself.")
        return 0


def start(job: Job) -> Job:
    """Start a job in tmux; where that is missing or broken, as setsid nohup does, and say so.

    Returns:
        The job as it was started.

    Raises:
        WeathermanError: it could not be started.
    """
    if shutil.which("tmux") is None:
        messages.warning("tmux is not here: training runs in the background instead (setsid nohup).")
    else:
        try:
            start_detached(job)
            return job
        except WeathermanError as problem:
            if problem.code != "launch.tmux" or has_session():
                raise
            messages.warning(f"{problem.message} Training runs in the background instead (setsid nohup).")
    job = replace(job, how="background")
    start_detached(job)
    return job


def await_record(job: Job) -> SessionRecord | None:
    """Wait until the session has said who it is; None if it never does."""
    until_s = time.monotonic() + _RECORD_AFTER_S
    while time.monotonic() < until_s:
        record = read_record(job.record_path)
        if record is not None and record.token == job.token:
            return record
        time.sleep(0.05)
    return None


def tell_how_to_look(job: Job, run: Path) -> str:
    """Print how to look at a training that was started.

    Returns:
        The command that stops it, saved.
    """
    status = shutil.which("weatherman") or str(Path(sys.executable).with_name("weatherman"))
    record = await_record(job)
    stop = f"tmux kill-session -t {SESSION}"
    if job.how == "tmux":
        messages.say(job.tag, f"Training runs in the tmux session {SESSION}: this terminal may be closed")
        messages.say(job.tag, f"Attach: {attach_command()}")
    else:
        stop = f"kill {record.pid}" if record else f"see {job.record_path}"
        messages.say(job.tag, "Training runs in the background: this terminal may be closed")
    messages.say(job.tag, f"Log: tail -f {shlex.quote(job.log)}")
    messages.say(job.tag, f"Status: {shlex.join([status, 'status', str(run.absolute())])}")
    messages.say(job.tag, f"Stop, saved: {stop}")
    return stop
