"""The result file: every measurement as it was made, and the summary that follows from them."""

from __future__ import annotations

import fcntl
import hashlib
import importlib.metadata
import json
import os
import platform
import statistics
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from benchmarks.contenders import CONTENDERS
from benchmarks.jobs import ROOT, split_workload
from benchmarks.roofline import step_flops
from weatherman.models.shape import ModelShape
from weatherman.system.atomic import write_atomic

Measurement = dict[str, Any]
PACKAGES = ("torch", "transformers", "peft", "trl", "accelerate", "datasets", "numpy", "safetensors")
_ENGINE_SOURCES = ("engine", "steps/prefix_tree.py", "steps/passes.py")


@dataclass(slots=True)
class ResultFile:
    """A result file that grows by a measurement at a time.

    Attributes:
        path: the JSON file.
        shape: the model's, for the roofline.
        measurements: what was measured so far.
        settings: what all measurements have in common.
    """

    path: Path
    shape: ModelShape
    settings: dict[str, Any]
    measurements: list[Measurement] = field(default_factory=list)

    @classmethod
    def open(cls, path: Path, shape: ModelShape, settings: dict[str, Any]) -> ResultFile:
        """Go on with a file, or begin one."""
        known = json.loads(path.read_text(encoding="utf-8"))["measurements"] if path.is_file() else []
        return cls(path, shape, settings, known)

    def find(self, contender: str, workload: str, repeat: int, basis: str) -> Measurement | None:
        """Find a measurement that was made of the same data and code."""
        wanted = (contender, workload, repeat, basis)
        for one in self.measurements:
            if (one["contender"], one["workload"], one["repeat"], one["basis"]) == wanted:
                return one
        return None

    def add(self, measurement: Measurement) -> None:
        """Add a measurement, in the place of an older one of the same name, and write the file.

        Another process may have added to the file meanwhile: it is read again, under a lock.
        """
        name = ("contender", "workload", "repeat")
        self.path.parent.mkdir(parents=True, exist_ok=True)
        folder = os.open(self.path.parent, os.O_RDONLY)
        try:
            fcntl.flock(folder, fcntl.LOCK_EX)
            known = self.open(self.path, self.shape, self.settings).measurements
            others = [one for one in known if any(one[key] != measurement[key] for key in name)]
            self.measurements = [*others, measurement]
            self.write()
        finally:
            os.close(folder)

    def write(self) -> None:
        """Write measurements and summary."""
        content = {
            "hardware": hardware(),
            "versions": versions(),
            "settings": self.settings,
            **summarise(self.measurements, self.shape, self.settings["clock"]),
            "measurements": self.measurements,
        }
        self.path.parent.mkdir(parents=True, exist_ok=True)
        write_atomic(self.path, (json.dumps(content, indent=1) + "\n").encode(), durable=False)


def hardware() -> dict[str, Any]:
    """The machine, in the words of its system."""
    processor = platform.processor()
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.is_file():
        names = [line for line in cpuinfo.read_text().splitlines() if line.startswith("model name")]
        processor = names[0].partition(":")[2].strip() if names else processor
    return {
        "processor": processor,
        "cores": os.cpu_count(),
        "memory_bytes": os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"),
        "system": platform.platform(),
    }


def versions() -> dict[str, str]:
    """The packages that took part."""
    found = {"python": platform.python_version()}
    for name in PACKAGES:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            found[name] = "not installed"
    return found


def basis(contender: str, data_hash: str, clock: str) -> str:
    """What a measurement depends on, in 12 hex digits: the data, the clock, and for ours the engine's source."""
    digest = hashlib.sha256(f"{data_hash} {clock}".encode())
    if contender.startswith("ours"):
        source = ROOT / "src" / "weatherman"
        for place in _ENGINE_SOURCES:
            files = sorted((source / place).rglob("*.py")) if (source / place).is_dir() else [source / place]
            for file in files:
                digest.update(file.read_bytes())
    return digest.hexdigest()[:12]


def summarise(measurements: Sequence[Measurement], shape: ModelShape, clock: str) -> dict[str, Any]:
    """Everything that follows from the measurements.

    Args:
        measurements: all of them.
        shape: the model's.
        clock: "wall", or "cpu" where seconds are those that the process itself computed.

    Returns:
        `roofline`, `contenders` (the 16-example steps of the data), `ratios`, `search`, `growth` and `preparation`.
    """
    measurements = [{**one, "s": one[f"{clock}_s"]} if f"{clock}_s" in one else one for one in measurements]
    peaks = [one["flops"] / one["s"] for one in measurements if one["contender"] == "roofline"]
    peak = max(peaks, default=None)
    steps = [one for one in measurements if one["workload"].startswith("step:")]
    return {
        "roofline": {"flops_per_s": peak, "measured": [round(value) for value in peaks]},
        "contenders": [
            contender_summary(name, [one for one in steps if one["contender"] == name], shape, peak)
            for name in CONTENDERS
            if any(one["contender"] == name for one in steps)
        ],
        "ratios": ratios(steps),
        "search": growth(measurements, "search"),
        "growth": {kind: growth(measurements, kind) for kind in ("batch", "prefix")},
        "preparation": [_only(one, _PREPARED) for one in measurements if one["contender"] == "preparation"],
    }


_PREPARED = ("rows", "render_s", "trees_s", "steps", "effective_tokens", "computed_tokens", "load")


def contender_summary(name: str, steps: Sequence[Measurement], shape: ModelShape, peak: float | None) -> dict[str, Any]:
    """A contender's figures over its 16-example steps."""
    steps = sorted(steps, key=lambda one: split_workload(one["workload"])[1])
    first, last = steps[0], steps[-1]
    fractions = [
        step_flops(shape, one["computed_tokens"], one["supervised_tokens"]) / one["s"] / peak for one in steps
    ] if peak else []  # fmt: skip
    return {
        "name": name,
        "label": CONTENDERS[name].label,
        "micro_batch": first["micro_batch"],
        "effective_tokens_per_s": spread([one["effective_tokens"] / one["s"] for one in steps]),
        "computed_tokens_per_s": spread([one["computed_tokens"] / one["s"] for one in steps]),
        "share_factor": spread([one["effective_tokens"] / one["computed_tokens"] for one in steps]),
        "peak_bytes": spread([one["peak_bytes"] for one in steps]),
        "roofline_fraction": spread(fractions),
        "first_loss": {"step": split_workload(first["workload"])[1], **spread([first["loss"]])},
        "final_loss": {"step": split_workload(last["workload"])[1], **spread([last["loss"]])},
        "cores_used": spread([one["cpu_s"] / one["wall_s"] for one in steps]),
        "load": spread([one["load"] for one in steps]),
    }


def spread(values: Sequence[float]) -> dict[str, Any]:
    """The median, the smallest and the largest of a few values."""
    if not values:
        return {"median": None, "spread": [None, None], "count": 0}
    return {"median": statistics.median(values), "spread": [min(values), max(values)], "count": len(values)}


def ratios(steps: Sequence[Measurement]) -> dict[str, Any]:
    """Ours with sharing on against every other: effective tokens/s, step by step, each pair of the same step."""
    speeds = {(one["contender"], one["workload"]): one["effective_tokens"] / one["s"] for one in steps}
    found = {}
    for name in CONTENDERS:
        pairs = [
            speed / speeds[name, workload]
            for (contender, workload), speed in speeds.items()
            if contender == "ours-on" and (name, workload) in speeds
        ]
        if name != "ours-on" and pairs:
            found[name] = spread(pairs)
    return found


def growth(measurements: Sequence[Measurement], kind: str) -> list[dict[str, Any]]:
    """The figures of one kind of workload, by its number and contender."""
    groups: dict[tuple[int, str], list[Measurement]] = {}
    for one in measurements:
        if one["workload"].startswith(f"{kind}:"):
            groups.setdefault((split_workload(one["workload"])[1], one["contender"]), []).append(one)
    return [
        {
            "at": number,
            "contender": contender,
            "step_s": spread([one["s"] for one in group]),
            "effective_tokens_per_s": spread([one["effective_tokens"] / one["s"] for one in group]),
            "share_factor": group[0]["effective_tokens"] / group[0]["computed_tokens"],
            "peak_bytes": max(one["peak_bytes"] for one in group),
        }
        for (number, contender), group in sorted(groups.items())
    ]


def _only(one: Measurement, names: Sequence[str]) -> dict[str, Any]:
    return {name: one[name] for name in names}
