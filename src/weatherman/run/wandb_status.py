"""What W&B's server knows of a run, asked over its API: how a run is watched from another machine."""

from __future__ import annotations

import base64
import json
import netrc
import os
import re
import sys
import urllib.request
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import unquote, urlparse

from weatherman import messages
from weatherman.errors import EXIT_FAILED, WeathermanError
from weatherman.run.events import EVENTS_FILE, read_events
from weatherman.run.status import latest_run
from weatherman.run.status_view import RUNS_ROOT, show_status

_DEFAULT_URL = "https://api.wandb.ai"
_TIMEOUT_S = 8.0
_RUN = re.compile(r"^(?:https?://[^/]+/)?([^/\s]+)/([^/\s]+)/(?:runs/)?([^/\s?]+)")
_QUERY = (
    "query Run($entity: String!, $project: String!, $name: String!) { project(name: $project, entityName: $entity) "
    "{ run(name: $name) { state heartbeatAt summaryMetrics } } }"
)
_WENT_WRONG = frozenset(["crashed", "failed", "killed"])


@dataclass(frozen=True, slots=True)
class RemoteRun:
    """A run as the server knows it. `step` and `loss` are None before the first are sent."""

    state: str
    last_heard: str
    step: int | None
    loss: float | None


def api_key(url: str) -> str | None:
    """The key for the server at `url`: by environment, else netrc."""
    if key := os.environ.get("WANDB_API_KEY"):
        return key
    path = Path(os.environ.get("NETRC") or Path.home() / ".netrc")
    try:
        found = netrc.netrc(str(path)).authenticators(urlparse(url).hostname or "")
    except (OSError, netrc.NetrcParseError, UnicodeDecodeError):
        return None
    return found[2] if found else None


def parse_run(text: str) -> tuple[str, str, str] | None:
    """Read entity, project and run id from `ENTITY/PROJECT/ID` or a run's address."""
    found = _RUN.match(text)
    return (unquote(found[1]), unquote(found[2]), found[3]) if found else None


def recorded_run(run_dir: Path) -> str | None:
    """The address that the run's tracker gave it, from its newest attempt."""
    urls = [event.get("url") for event in read_events(run_dir / EVENTS_FILE) if event.get("kind") == "tracker"]
    return next((str(url) for url in reversed(urls) if url), None)


def ask_server(run: tuple[str, str, str]) -> RemoteRun:
    """Ask W&B's server for a run.

    Args:
        run: entity, project and id.

    Raises:
        WeathermanError: there is no key, no answer, or no such run.
    """
    url = os.environ.get("WANDB_BASE_URL", _DEFAULT_URL).rstrip("/")
    key = api_key(url)
    if key is None:
        raise WeathermanError(
            "wandb.no-key", "there is no W&B key.", "export WANDB_API_KEY (https://wandb.ai/authorize)"
        )
    variables = dict(zip(("entity", "project", "name"), run, strict=True))
    request = urllib.request.Request(
        f"{url}/graphql",
        json.dumps({"query": _QUERY, "variables": variables}).encode(),
        {"Content-Type": "application/json", "Authorization": "Basic " + _basic(key)},
    )
    try:
        with urllib.request.urlopen(request, timeout=_TIMEOUT_S) as answer:
            found = json.loads(answer.read(2**22))["data"]["project"]["run"]
        summary = json.loads(found.get("summaryMetrics") or "{}")
        return RemoteRun(
            str(found["state"]), str(found.get("heartbeatAt") or ""), summary.get("_step"), summary.get("train/loss")
        )
    except OSError as problem:
        raise WeathermanError("wandb.unreachable", f"{url} does not answer ({problem}).") from problem
    except (ValueError, KeyError, TypeError, AttributeError) as problem:
        raise WeathermanError("wandb.no-run", f"W&B knows no run {'/'.join(run)}.") from problem


def _basic(key: str) -> str:
    return base64.b64encode(f"api:{key}".encode()).decode()


def describe(remote: RemoteRun) -> str:
    """The server's view in one line."""
    step = f", step {remote.step}" if isinstance(remote.step, int) else ""
    loss = f", loss {remote.loss:.4f}" if isinstance(remote.loss, float) else ""
    return f"W&B: {remote.state}{step}{loss}, last heard {remote.last_heard or 'never'}"


def main(arguments: list[str]) -> int:
    """Show a run: what W&B's server says where that is set up, and what its folder says where that is here.

    Args:
        arguments: a run's folder, or ENTITY/PROJECT/ID or an address of W&B; nothing for the newest local run.

    Returns:
        The exit code of `weatherman status`; for a run elsewhere 1 if W&B says that it went wrong.

    Raises:
        WeathermanError: there is no such run.
    """
    named = arguments[0] if arguments else ""
    if named and not Path(named).is_dir() and (run := parse_run(named)):
        remote = ask_server(run)
        messages.say("STATUS", describe(remote))
        return EXIT_FAILED if remote.state in _WENT_WRONG else 0
    run_dir = Path(named) if named else latest_run(RUNS_ROOT)
    address = recorded_run(run_dir)
    if address and (run := parse_run(address)):
        try:
            messages.say("STATUS", f"{describe(ask_server(run))} ({address})")
        except WeathermanError as problem:
            messages.warning(f"W&B cannot be asked: {problem}")
    return show_status(run_dir)


if __name__ == "__main__":
    try:
        sys.exit(main(sys.argv[1:]))
    except WeathermanError as problem:
        messages.error(problem)
        sys.exit(problem.exit_code)
