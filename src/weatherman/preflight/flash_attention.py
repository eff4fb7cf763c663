"""Flash Attention 2: the wheel that matches exactly, or a build within a stated time, else PyTorch's own kernels.

A source build can take hours of a rented machine, and the training result is the same without it.
"""

from __future__ import annotations

import argparse
import json
import os
import sys

from weatherman import messages
from weatherman.preflight.environment import installed_version
from weatherman.preflight.probe import Probe, SystemProbe

VERSION = "2.8.3"
RELEASES = "https://github.com/Dao-AILab/flash-attention/releases/download"
_INSTALL_TIMEOUT_S = 600.0
_FACTS = (
    "import json, torch; print(json.dumps("
    "[torch.__version__, torch.version.cuda, torch.compiled_with_cxx11_abi(), torch.cuda.is_available()]))"
)
_WORKS = (
    "import torch; from flash_attn import flash_attn_func as f; "
    "q = torch.randn(1, 64, 4, 64, device='cuda', dtype=torch.bfloat16); f(q, q, q, causal=True).sum().item()"
)


def wheel_name(torch: str, cuda: str, abi: bool, python: tuple[int, int]) -> str:
    """The file that fits exactly this PyTorch, CUDA, C++ ABI and Python, as the project names its releases.

    Args:
        torch: PyTorch's version, e.g. "2.8.0+cu128".
        cuda: the CUDA version it was built with.
        abi: whether it was built with the C++11 ABI.
        python: major and minor.
    """
    minor = ".".join(torch.split("+")[0].split(".")[:2])
    tag = f"cp{python[0]}{python[1]}"
    build = f"cu{cuda.split('.')[0]}torch{minor}cxx11abi{'TRUE' if abi else 'FALSE'}"
    return f"flash_attn-{VERSION}+{build}-{tag}-{tag}-linux_x86_64.whl"


def install(probe: Probe, build_minutes: int) -> str:
    """Install Flash Attention, if that can be done without wasting time.

    Args:
        probe: runs pip and asks for the wheel.
        build_minutes: how long a build from source may take where no wheel fits; 0 builds nothing.

    Returns:
        Why it is not there; empty when it works.
    """
    facts = probe.run([sys.executable, "-c", _FACTS], _INSTALL_TIMEOUT_S)
    try:
        torch, cuda, abi, there = json.loads(facts.text.splitlines()[-1] if facts else "")
    except (ValueError, IndexError):
        return "PyTorch cannot be imported"
    if not cuda or not there:
        return "PyTorch finds no CUDA device"
    if installed_version("flash-attn") and _works(probe):
        return ""
    name = wheel_name(torch, cuda, abi, sys.version_info[:2])
    releases = probe.environ.get("FLASH_ATTN_RELEASES", RELEASES)
    url = f"{releases}/v{VERSION}/{name.replace('+', '%2B')}"
    status = probe.http_status(url)
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps"]
    if status is not None and status < 400:
        answer = probe.run([*pip, url], _INSTALL_TIMEOUT_S)
        if answer and answer.code == 0 and _works(probe):
            return ""
        return f"its wheel {name} could not be installed, or does not run"
    reason = f"there is no wheel {name}" if status else "the server of its wheels cannot be reached"
    if not build_minutes:
        return f"{reason}, and a build from source was not asked for"
    messages.say("SETUP-H100", f"{reason[0].upper()}{reason[1:]}: building it, for at most {build_minutes} minutes")
    command = [*pip, "--no-build-isolation", f"flash-attn=={VERSION}"]
    answer = probe.run(command, build_minutes * 60.0)
    if answer is None:
        return f"its build did not end within {build_minutes} minutes"
    return "" if answer.code == 0 and _works(probe) else "its build failed"


def _works(probe: Probe) -> bool:
    answer = probe.run([sys.executable, "-c", _WORKS], _INSTALL_TIMEOUT_S)
    return bool(answer and answer.code == 0)


def main() -> int:
    """Install it or say why not; never a failure."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--build-minutes", type=int, default=0)
    options.add_argument("--rehearse", action="store_true")
    chosen = options.parse_args()
    if chosen.rehearse:
        messages.warning("Cannot know here: whether a wheel of Flash Attention fits the rented machine")
        return 0
    if why := install(SystemProbe(), chosen.build_minutes):
        messages.warning(f"Training without Flash Attention: {why}. PyTorch's own kernels give the same result")
    else:
        messages.success(f"Flash Attention {installed_version('flash-attn') or VERSION} works")
    return os.EX_OK


if __name__ == "__main__":
    sys.exit(main())
