"""The optional webhook: a URL that is sent a run's status when it starts, resumes, ends or fails.

The URL is read from `WEATHERMAN_WEBHOOK` alone, not from the configuration: such URLs are secrets, and the
configuration is recorded with the run. Nothing that goes wrong here ever stops or delays a run for long.
"""

from __future__ import annotations

import http.client
import json
import os
import threading
import urllib.request
from pathlib import Path
from typing import Literal

from weatherman import messages
from weatherman.errors import WeathermanError
from weatherman.run.status import read_status

VARIABLE = "WEATHERMAN_WEBHOOK"
_TIMEOUT_S = 5.0
_told = threading.Event()


def notify(run_dir: Path, event: Literal["start", "resume", "end", "failure"]) -> None:
    """Send a run's status, as `weatherman status --json` shows it, with the event's name; wait for seconds at most.

    Args:
        run_dir: the run's folder.
        event: what happened.
    """
    url = os.environ.get(VARIABLE, "").strip()
    if not url:
        return
    if not url.lower().startswith(("http://", "https://")):
        _tell("it is no http or https address")
        return
    try:
        status = read_status(run_dir).to_json()
    except (WeathermanError, OSError) as problem:
        _tell(f"the run's status cannot be read: {problem}")
        return
    body = messages.redact(json.dumps({"event": event, "status": status})).encode("ascii")
    sender = threading.Thread(target=_send, args=(url, body), name="webhook", daemon=True)
    sender.start()
    sender.join(_TIMEOUT_S)  # looking a name up can hang, whatever time a socket is given


def _send(url: str, body: bytes) -> None:
    try:
        request = urllib.request.Request(url, data=body, headers={"Content-Type": "application/json"}, method="POST")
        with urllib.request.urlopen(request, timeout=_TIMEOUT_S):
            pass
    except (OSError, ValueError, http.client.HTTPException) as problem:
        _tell(str(getattr(problem, "reason", None) or problem))


def _tell(reason: str) -> None:
    """Warn once; the URL itself stays out of every line."""
    if not _told.is_set():
        _told.set()
        messages.warning(f"The webhook of {VARIABLE} failed ({reason}); training goes on.")
