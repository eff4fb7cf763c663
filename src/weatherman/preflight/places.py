"""Where a run's files go: the run's folder, the hub's cache, the environment. Read without any package."""

from __future__ import annotations

import re
import sys
from pathlib import Path

from weatherman.preflight.environment import installed_version
from weatherman.preflight.probe import Probe
from weatherman.preflight.target import Platform, Target, detect_platform

WORKSPACE = Path("/workspace")
_DEFAULTS = {
    "output_dir": "runs/run",
    "model_name_or_path": "smollm2-135m-instruct",
    "model_revision": "main",
    "report_to": "none",
    "platform": "demo",
}


def setting(target: Target, key: str) -> str:
    """A text of the configuration, read without a YAML reader: the last override, else the file's, else the default."""
    value = _written(target, key)
    return _DEFAULTS[key] if value in ("", "null", "~") else value


def _written(target: Target, key: str) -> str:
    for override in reversed(target.overrides):
        name, _, value = override.partition("=")
        if name.strip() == key:
            return value.strip()
    try:
        text = target.config_path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError):
        return ""
    found = re.search(rf"^{re.escape(key)}:[ \t]*(\"[^\"\n]*\"|'[^'\n]*'|[^#\n]*)", text, re.MULTILINE)
    return found[1].strip().strip("\"'") if found else ""


def output_dir(target: Target) -> Path:
    """The run's folder."""
    return Path(setting(target, "output_dir"))


def hub_home(target: Target) -> Path:
    """The folder of the hub's files: `$HF_HOME`, else under the user's cache."""
    environ = target.probe.environ
    if chosen := environ.get("HF_HOME"):
        return Path(chosen).expanduser()
    cache = environ.get("XDG_CACHE_HOME")
    return (Path(cache) if cache else Path(environ.get("HOME", "~")).expanduser() / ".cache") / "huggingface"


def hub_cache(target: Target) -> Path:
    """Where the hub's models are kept."""
    chosen = target.probe.environ.get("HF_HUB_CACHE")
    return Path(chosen).expanduser() if chosen else hub_home(target) / "hub"


def cached_model_bytes(target: Target) -> int:
    """Bytes of the base model that are in the hub's cache already."""
    folder = hub_cache(target) / ("models--" + setting(target, "model_name_or_path").replace("/", "--")) / "blobs"
    try:
        return sum(path.stat().st_size for path in folder.iterdir() if not path.name.endswith(".incomplete"))
    except OSError:
        return 0


def environment(target: Target) -> Path:
    """The environment's folder: `$WEATHERMAN_ENV` while it is being set up, else the one that this runs in."""
    return Path(target.probe.environ.get("WEATHERMAN_ENV") or sys.prefix)


def environment_is_made(target: Target) -> bool:
    """Whether the environment is there, or at least as much of it as takes space."""
    if chosen := target.probe.environ.get("WEATHERMAN_ENV"):
        return (Path(chosen) / "bin" / "python").exists()
    return not target.before_setup and installed_version("torch") is not None


def platform_of(config: Path | None, probe: Probe) -> Platform:
    """The platform that a configuration is made for; without one, that of this machine."""
    if config is None:
        return detect_platform(probe)
    named = setting(Target("cpu", config, probe=probe), "platform")
    return {"h100": "h100", "m4": "m4"}.get(named, "cpu")  # type: ignore[return-value]


def on_pod(target: Target) -> bool:
    """Whether this is a RunPod machine."""
    return "RUNPOD_POD_ID" in target.probe.environ
