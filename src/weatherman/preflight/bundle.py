"""One file that a person may send when something is odd on their machine: no secrets, no data, nothing free to write.

What goes in is chosen by name: versions, findings, the settings that are numbers or one of a few words, and of a run's
first steps the figures.
"""

from __future__ import annotations

import json
import platform
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from weatherman import __version__, messages
from weatherman.errors import WeathermanError
from weatherman.preflight.finding import Finding
from weatherman.run.events import read_events
from weatherman.run.provenance import package_versions

NUM_STEPS = 100
EVENTS, RUN = "events.jsonl", "run.json"
_WORDS = (
    "platform",
    "engine",
    "quantization",
    "dtype",
    "device",
    "sharing",
    "attn_implementation",
    "lr_scheduler_type",
)
_TEXTS = {"engine": ("backend", "device", "device_name", "dtype", "attention"), "phase": ("message",)}
_KINDS = ("start", "engine", "phase", "step", "validation", "checkpoint", "stop", "failure", "crash-loop", "finish")


def make_bundle(findings: Sequence[Finding], run: Path | None) -> dict[str, Any]:
    """Gather what is to be sent.

    Args:
        findings: of all checks.
        run: a run's folder; None for none.

    Returns:
        Plain JSON values; the home folder is written `~`, secrets are left out.
    """
    record = {
        "format_version": 1,
        "weatherman": __version__,
        "system": platform.platform(),
        "machine": platform.machine(),
        "python": platform.python_version(),
        "packages": package_versions(),
        "findings": [finding.to_json() for finding in findings],
        "run": _run(run) if run else None,
    }
    text = messages.redact(json.dumps(record, allow_nan=False))
    home = json.dumps(str(Path.home()))[1:-1]
    plain: dict[str, Any] = json.loads(text.replace(home, "~") if len(home) > 1 else text)
    return plain


def write_bundle(path: Path, findings: Sequence[Finding], run: Path | None) -> None:
    """Write the bundle as JSON.

    Raises:
        WeathermanError: it cannot be written, or the run has no events.
    """
    if run is not None and not (run / EVENTS).is_file():
        text = f"{run} holds no run ({EVENTS} is missing)."
        raise WeathermanError("doctor.no-run", text, "give a run's output_dir, or leave --run out.")
    try:
        path.write_text(json.dumps(make_bundle(findings, run), indent=2) + "\n", encoding="utf-8")
    except OSError as problem:
        text = f"{path} cannot be written: {problem.strerror or problem}."
        raise WeathermanError("doctor.unwritable", text, "give another file: --bundle FILE") from problem


def _run(folder: Path) -> dict[str, Any]:
    try:
        config = json.loads((folder / RUN).read_text(encoding="utf-8")).get("config", {})
    except (OSError, ValueError, AttributeError):
        config = {}
    events: list[dict[str, Any]] = []
    num_steps = 0
    for event in read_events(folder / EVENTS):
        num_steps += event["kind"] == "step"
        if num_steps > NUM_STEPS:
            break
        if event["kind"] in _KINDS:
            events.append(_figures(event))
    settings = {key: value for key, value in config.items() if _is_figure(value) or key in _WORDS}
    return {"settings": settings, "events": events}


def _figures(event: dict[str, Any]) -> dict[str, Any]:
    """An event's kind, time, code and numbers, and the few texts that this program words by itself."""
    named = ("kind", "time", "code", *_TEXTS.get(event["kind"], ()))
    return {key: value for key, value in event.items() if key in named or _is_figure(value)}


def _is_figure(value: Any) -> bool:
    return value is None or isinstance(value, (bool, int, float))
