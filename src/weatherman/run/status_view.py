"""How `weatherman status` shows a run: lines for people, JSON for programs, again and again with `--watch`."""

from __future__ import annotations

import json
import time
from pathlib import Path

from weatherman import messages
from weatherman.errors import EXIT_CRASH_LOOP, EXIT_FAILED
from weatherman.progress import format_duration
from weatherman.run.spending import money
from weatherman.run.status import ENDED, RunStatus, latest_run, read_status

__all__ = ["RunStatus", "latest_run", "read_status", "show_status", "status_lines"]

RUNS_ROOT = Path("runs")
WATCH_S = 2.0


def show_status(run: Path | None, *, as_json: bool = False, watch: bool = False) -> int:
    """Print what a run is doing.

    Args:
        run: the run's folder; None for the one under `runs/` that was last heard of.
        as_json: one JSON object a line on standard output, nothing else.
        watch: print it again whenever it changes, until the run is over or Ctrl-C.

    Returns:
        0 if it goes well or was stopped on purpose; 1 if it failed, died or stalls; 2 for a crash loop.

    Raises:
        WeathermanError: there is no such run.
    """
    run_dir = run if run is not None else latest_run(RUNS_ROOT)
    shown: list[str] = []
    status = read_status(run_dir)
    try:
        while True:
            lines = [json.dumps(status.to_json(), allow_nan=False)] if as_json else status_lines(status)
            if lines != shown:
                _print(lines, as_json)
                shown = lines
            if not watch or status.state in ENDED:
                break
            time.sleep(WATCH_S)
            status = read_status(run_dir)
    except KeyboardInterrupt:
        if not watch:
            raise
    return {"crash-loop": EXIT_CRASH_LOOP, "failed": EXIT_FAILED, "dead": EXIT_FAILED, "stalled": EXIT_FAILED}.get(
        status.state, 0
    )


def _print(lines: list[str], as_json: bool) -> None:
    for line in lines:
        if as_json:
            print(messages.redact(line), flush=True)
        else:
            messages.say("STATUS", line)


def status_lines(status: RunStatus) -> list[str]:
    """Make the lines for people, without their tag."""
    where = f"step {status.step}" + (f" of {status.total} ({status.step / status.total:.0%})" if status.total else "")
    code = f", exit code {status.exit_code}" if status.exit_code is not None else ""
    lines = [f"{status.run}: {status.state}{code}, {where}, attempt {status.attempt}"]
    if status.reason:
        lines.append(f"Why: {status.reason}")
    facts = [
        f"loss {status.loss:.4f}" if status.loss is not None else "",
        f"{status.tokens_per_s:.0f} tokens/s" if status.tokens_per_s is not None else "",
        f"{format_duration(status.eta_s)} left" if status.eta_s is not None else "",
        f"cost so far {money(status.hourly_rate, status.busy_s / 3600)}" if status.hourly_rate is not None else "",
    ]
    if any(facts):
        lines.append(" · ".join(fact for fact in facts if fact))
    if status.budget:
        lines.append(f"Budget: {status.budget}")
    if status.message:
        lines.append(f"It said: {status.message}")
    lines.append(f"Last verified checkpoint: {status.last_verified_checkpoint or 'none yet'}")
    lines.append(f"Next: {status.next_action}")
    return lines
