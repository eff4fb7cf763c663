"""Free space, on the volumes where the run's files really go. Works before anything is installed."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from weatherman.preflight import places
from weatherman.preflight.finding import Finding, as_rehearsal, fail, ok, unknown, warn
from weatherman.preflight.target import Platform, Target

GIB = 2**30
# GB that a run writes, by platform. All of it together is the 50 GB that a set-up on the H100 asks for.
NEEDS_GB: dict[Platform, dict[str, float]] = {
    "h100": {"raw data": 1, "model": 15, "environment": 10, "checkpoints": 4, "merged model": 15, "buffer": 5},
    "m4": {"raw data": 1, "model": 15, "environment": 2, "checkpoints": 1, "buffer": 1},
    "cpu": {"raw data": 0.1, "model": 0.7, "environment": 1.2, "checkpoints": 0.3, "buffer": 0.7},
}
# Free GB on the run's own volume: below the first a run is refused, below the second it is warned about.
LIMITS_GB: dict[Platform, tuple[float, float]] = {"h100": (20, 30), "m4": (20, 30), "cpu": (3, 20)}
_MODEL_IS_THERE = 0.85


@dataclass(frozen=True, slots=True)
class Volume:
    """A volume, the first folder of the run on it, and what will be written there. Sizes in GB of 2**30 bytes."""

    folder: Path
    holds_run: bool
    needs_gb: dict[str, float]

    @property
    def needed_gb(self) -> float:
        """What is still to be written there."""
        return sum(self.needs_gb.values())


def check_storage(target: Target) -> Iterator[Finding]:
    """Judge the free space of each volume, and on a pod, whether the volumes survive."""
    if target.rehearse:
        yield from check_space(target, "cpu")
        for finding in check_space(target, target.platform):
            if finding.verdict != "ok":
                yield as_rehearsal(finding)
    else:
        yield from check_space(target, target.platform)
    if places.on_pod(target):
        yield from check_pod(target)


def check_space(target: Target, platform: Platform) -> Iterator[Finding]:
    """Free space against what this platform's run writes."""
    for volume in volumes(target, platform):
        parts = ", ".join(f"{name} {gb:g}" for name, gb in volume.needs_gb.items())
        code = "storage.run" if volume.holds_run else f"storage.{'-'.join(volume.needs_gb).replace(' ', '-')}"
        free_bytes = target.probe.free_bytes(volume.folder)
        if free_bytes is None:
            yield unknown(code, f"the free space at {volume.folder} cannot be read")
            continue
        least, wanted = LIMITS_GB[platform] if volume.holds_run else (0.0, 0.0)
        needed, free = max(least, volume.needed_gb), free_bytes / GIB
        text = f"{free:.1f} GB free at {volume.folder}, {max(needed, wanted):g} GB recommended (in GB: {parts})"
        advice = f"free some space there, or put it elsewhere: {_how_to_move(volume)}"
        if free < needed:
            yield fail(code, f"{free:.1f} GB free at {volume.folder}, {needed:g} GB needed (in GB: {parts})", advice)
        elif free < wanted:
            yield warn(code, text, advice)
        else:
            yield ok(code, f"{free:.1f} GB free at {volume.folder}, {needed:g} GB needed (in GB: {parts})")


def volumes(target: Target, platform: Platform) -> list[Volume]:
    """The volumes that a run writes to, the run's own first, each with what is still to be written there."""
    needs = dict(NEEDS_GB[platform])
    if places.cached_model_bytes(target) / GIB >= _MODEL_IS_THERE * needs["model"]:
        needs["model"] = 0
    if places.environment_is_made(target):
        needs["environment"] = 0
    homes = {"model": places.hub_cache(target), "environment": places.environment(target)}
    run_folder = places.output_dir(target)
    found: dict[str, Volume] = {target.probe.volume(run_folder): Volume(run_folder, True, {})}
    for name, gb in needs.items():
        folder = homes.get(name, run_folder)
        volume = found.setdefault(target.probe.volume(folder), Volume(folder, False, {}))
        if gb:
            volume.needs_gb[name] = gb
    return [volume for volume in found.values() if volume.holds_run or volume.needs_gb]


def _how_to_move(volume: Volume) -> str:
    if volume.holds_run:
        return "--set output_dir=FOLDER"
    return "HF_HOME=FOLDER" if "model" in volume.needs_gb else "WEATHERMAN_ENV=FOLDER"


def check_pod(target: Target) -> Iterator[Finding]:
    """A pod's own disk is lost when it stops: the run and the model must be on the volume."""
    probe, run_folder = target.probe, places.output_dir(target)
    if probe.volume(places.WORKSPACE) == probe.volume(Path("/")):
        text = "this pod has no volume at /workspace: everything is lost when it stops"
        yield warn("storage.volume", text, "rent the pod with a network volume, the only one that survives termination")
        return
    if probe.volume(run_folder) == probe.volume(Path("/")):
        text = f"the run's folder {run_folder.absolute()} is on the pod's own disk, which is lost when the pod stops"
        yield fail(
            "storage.volume", text, "clone the project under /workspace, or --set output_dir=/workspace/runs/h100"
        )
    else:
        text = f"the run's folder {run_folder.absolute()} is on a volume that survives a stop"
        yield ok("storage.volume", f"{text} (termination only if it is a network volume)")
    if probe.volume(places.hub_cache(target)) == probe.volume(Path("/")):
        text = (
            f"the hub's cache {places.hub_cache(target)} is on the pod's own disk: the model is fetched after each stop"
        )
        yield warn("storage.cache", text, "export HF_HOME=/workspace/.cache/huggingface")
