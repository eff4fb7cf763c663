"""Python and the packages: what is installed, against what is supported and pinned."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path

from weatherman.preflight.finding import Finding, fail, ok, unknown, warn
from weatherman.preflight.target import Target

MIN_PYTHON = (3, 10)
# The oldest supported, and the first that is not: what pyproject.toml asks for.
SUPPORTED: dict[str, tuple[str, str]] = {
    "torch": ("2.6", "3"),
    "transformers": ("5", "6"),
    "peft": ("0.17", "1"),
    "safetensors": ("0.5", "1"),
    "tokenizers": ("0.21", "1"),
    "numpy": ("1.26", "3"),
    "pydantic": ("2.10", "3"),
    "PyYAML": ("6", "7"),
    "jsonschema": ("4.20", "5"),
    "typer": ("0.16", "1"),
    "rich": ("13", "16"),
}
SETUP = {"h100": "./setup_runpod_h100.sh", "m4": "./setup_m4_local.sh", "cpu": "make setup"}


def check_environment(target: Target) -> Iterator[Finding]:
    """Judge the interpreter and the packages of the environment that this runs in."""
    yield check_python(target)
    setup = SETUP[target.platform]
    missing = []
    for name, (oldest, too_new) in SUPPORTED.items():
        found = installed_version(name)
        if found is None:
            missing.append(name)
        elif version_key(oldest) <= version_key(found) < version_key(too_new):
            yield ok(f"environment.{name.lower()}", f"{name} {found} (supported: {oldest} to below {too_new})")
        else:
            text = f"{name} {found} is not supported (from {oldest} to below {too_new})"
            yield fail(f"environment.{name.lower()}", text, f"run {setup}, which installs the pinned versions")
    if missing:
        text = f"not installed in {sys.prefix}: {', '.join(missing)}"
        yield fail("environment.missing", text, f"run {setup}")
    if target.platform == "h100":
        yield check_flash_attention()
    yield from check_prefix(target)


def check_python(target: Target) -> Finding:
    """Python 3.10 or newer."""
    version = ".".join(map(str, target.probe.python_version))
    if target.probe.python_version[:2] >= MIN_PYTHON:
        return ok("environment.python", f"Python {version}")
    return fail(
        "environment.python", f"Python {version} is too old", "use Python 3.10 or newer (3.11 is what is tested)"
    )


def check_flash_attention() -> Finding:
    """Flash Attention is a help, never a condition."""
    found = installed_version("flash-attn")
    if found:
        return ok("environment.flash-attn", f"flash-attn {found}")
    text = "flash-attn is not installed; attention runs on PyTorch's own kernels (FlexAttention, SDPA)"
    return warn("environment.flash-attn", text, "nothing needs doing: the result is the same")


def check_prefix(target: Target) -> Iterator[Finding]:
    """An environment on a pod's network volume is very slow to import from."""
    workspace = Path("/workspace")
    if "RUNPOD_POD_ID" not in target.probe.environ or not workspace.is_dir():
        return
    if target.probe.volume(Path(sys.prefix)) == target.probe.volume(workspace):
        text = f"the environment {sys.prefix} is on the network volume, where imports take minutes"
        yield warn("environment.place", text, "./setup_runpod_h100.sh makes one on the container's disk")
    else:
        yield ok("environment.place", f"the environment is on the container's disk ({sys.prefix})")


def installed_version(name: str) -> str | None:
    """The version of an installed package, without importing it; None if it is not installed."""
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None


def version_key(text: str) -> tuple[int, ...]:
    """The leading numbers of a version, for comparison: "2.8.0+cu128" is (2, 8, 0).

    A pre-release counts as its release.
    """
    numbers: list[int] = []
    for part in text.split("+")[0].split("."):
        digits = part[: len(part) - len(part.lstrip("0123456789"))]
        if not digits:
            break
        numbers.append(int(digits))
    return tuple(numbers)


def torch_cuda_version() -> str | None:
    """The CUDA version that the installed PyTorch was built with, read from its files; None for a CPU build or none."""
    try:
        found = metadata.distribution("torch")
    except metadata.PackageNotFoundError:
        return None
    try:
        text = Path(str(found.locate_file("torch/version.py"))).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError):
        return None
    for line in text.splitlines():
        if line.startswith("cuda") and "=" in line:
            value = line.split("=", 1)[1].strip().strip("'\"")
            return None if value == "None" else value
    return None


def not_installed(what: str, target: Target) -> Finding:
    """PyTorch has to be there before `what` can be known."""
    text = "whether the device computes is tried when PyTorch is installed"
    return unknown(what, text, "" if target.before_setup else f"run {SETUP[target.platform]}")
