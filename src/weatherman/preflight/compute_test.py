"""A kernel that runs: the only proof of a device. It runs in a process of its own, which may crash or hang alone."""

from __future__ import annotations

import json
import sys
from typing import Any

from weatherman.preflight.environment import SETUP, installed_version, not_installed, version_key
from weatherman.preflight.finding import Finding, fail, ok
from weatherman.preflight.target import Target

_TIMEOUT_S = 180.0  # the first import of torch from a network volume can take minutes
_SIZE = 1024
_WORST_ERROR = 0.05


def check_compute(target: Target, device: str, min_cuda: str | None = None) -> Finding:
    """Run a bfloat16 matrix product and a masked attention on the device and compare them with the CPU's.

    Args:
        target: whose probe starts the process.
        device: "cuda", "mps" or "cpu".
        min_cuda: the oldest CUDA that PyTorch may be built with.
    """
    code = f"{device}.compute"
    if target.before_setup or installed_version("torch") is None:
        return not_installed(code, target)
    answer = target.probe.run([sys.executable, "-m", "weatherman.preflight.compute_test", device], _TIMEOUT_S)
    setup = f"run {SETUP[target.platform]}, which installs the pinned PyTorch"
    if answer is None:
        return fail(code, f"the compute test on {device} did not end within {_TIMEOUT_S:.0f} s", "restart the machine")
    found = _last_json(answer.text)
    if found is None:
        tail = answer.text.strip().splitlines()[-1:] or ["no output"]
        return fail(code, f"the compute test on {device} died with exit code {answer.code}: {tail[0]}", setup)
    build = f"PyTorch {found['torch']}" + (f" with CUDA {found['cuda']}" if found.get("cuda") else "")
    if "error" in found:
        return fail(code, f"{build} cannot compute on {device}: {found['error']}", setup)
    if min_cuda and version_key(str(found["cuda"])) < version_key(min_cuda):
        return fail(code, f"{build} is too old; CUDA {min_cuda} or newer is needed", setup)
    if found["worst_error"] > _WORST_ERROR:
        text = f"{build} computes wrongly on {device}: {found['worst_error']:.3g} away from the CPU's result"
        return fail(code, text, "do not train on this device; another PyTorch build may be right")
    return ok(code, f"{build} computes on {found['name']}: a matrix product and a masked attention are right")


def _last_json(text: str) -> dict[str, Any] | None:
    for line in reversed(text.splitlines()):
        try:
            found = json.loads(line)
        except ValueError:
            continue
        if isinstance(found, dict) and "torch" in found:
            return found
    return None


def main(device: str) -> None:
    """Run the test in this process and print its result as one line of JSON."""
    import torch

    found: dict[str, Any] = {"torch": torch.__version__, "cuda": torch.version.cuda, "device": device}
    try:
        found["name"] = torch.cuda.get_device_name() if device == "cuda" else device
        dtype = torch.float32 if device == "cpu" else torch.bfloat16
        generator = torch.Generator().manual_seed(0)
        a, b = (torch.randn(_SIZE, _SIZE, generator=generator) / _SIZE**0.25 for _ in range(2))
        worst = float(((a.to(device, dtype) @ b.to(device, dtype)).float().cpu() - a @ b).abs().max() / (a @ b).std())
        query, key, value = (torch.randn(1, 4, 64, 32, generator=generator) for _ in range(3))
        mask = torch.ones(64, 64, dtype=torch.bool).tril()
        attend = torch.nn.functional.scaled_dot_product_attention
        there = attend(query.to(device), key.to(device), value.to(device), attn_mask=mask.to(device)).cpu()
        found["worst_error"] = max(worst, float((there - attend(query, key, value, attn_mask=mask)).abs().max()))
    except Exception as problem:  # whatever a broken driver throws is the answer
        found["error"] = str(problem).strip().splitlines()[0] if str(problem).strip() else type(problem).__name__
    print(json.dumps(found))


if __name__ == "__main__":
    main(sys.argv[1])
