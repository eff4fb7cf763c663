"""The NVIDIA GPU: driver, memory class, capability, and a kernel that runs."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from weatherman.preflight.compute_test import check_compute
from weatherman.preflight.environment import torch_cuda_version, version_key
from weatherman.preflight.finding import Finding, fail, ok, unknown, warn
from weatherman.preflight.probe import Probe
from weatherman.preflight.target import Target

GIB = 2**30
MIN_CUDA = "12.1"
# What requirements-remote.txt pins: the CUDA of its PyTorch wheel. Within one major version a driver runs newer minor
# ones (NVIDIA, "CUDA compatibility"); these are the first Linux drivers of each major version.
PINNED_CUDA = "12.8"
FIRST_DRIVER = {11: "450.80.02", 12: "525.60.13", 13: "580.65.06"}
_MIN_BF16_CAPABILITY = (8, 0)
_BUSY_BYTES = 2 * GIB
_QUERY = "name,memory.total,memory.used,driver_version,compute_cap"
_CLASSES = {
    "INSUFFICIENT": (0.0, "the demo configuration, or rent a larger GPU"),
    "LOW": (20.0, "configs/training_config_h100.yaml with --set max_tokens_per_chunk=1024"),
    "ADEQUATE": (24.0, "configs/training_config_h100.yaml with --set max_tokens_per_chunk=4096"),
    "EXCELLENT": (70.0, "configs/training_config_h100.yaml as it is"),
}


@dataclass(frozen=True, slots=True)
class Gpu:
    """What nvidia-smi says about the first GPU. `capability` is the compute capability, e.g. (9, 0)."""

    name: str
    total_bytes: int
    used_bytes: int
    driver: str
    capability: tuple[int, int] | None


def memory_class(total_bytes: int) -> str:
    """INSUFFICIENT below 20 GB, LOW to below 24, ADEQUATE to below 70, else EXCELLENT (GB of 2**30 bytes)."""
    return [name for name, (least, _) in _CLASSES.items() if total_bytes / GIB >= least][-1]


def recommended_config(total_bytes: int) -> str:
    """What to train with on a GPU of this size."""
    return _CLASSES[memory_class(total_bytes)][1]


def read_gpus(probe: Probe) -> list[Gpu] | str:
    """The GPUs, or why there are none."""
    answer = probe.run(["nvidia-smi", f"--query-gpu={_QUERY}", "--format=csv,noheader,nounits"])
    if answer is None:
        return "nvidia-smi is missing or does not answer" if probe.which("nvidia-smi") else "nvidia-smi is not here"
    lines = [line.strip() for line in answer.text.splitlines() if line.strip()]
    if answer.code != 0 or not lines:
        return lines[0] if lines else "nvidia-smi found no GPU"
    gpus = [gpu for gpu in map(_parse_gpu, lines) if gpu]
    return gpus or f"nvidia-smi said {lines[0]!r}"


def _parse_gpu(line: str) -> Gpu | None:
    fields = [field.strip() for field in line.rsplit(",", 4)]
    if len(fields) != 5 or not fields[1].isdigit():
        return None
    name, total, used, driver, capability = fields
    numbers = re.fullmatch(r"(\d+)\.(\d+)", capability)
    return Gpu(
        name,
        int(total) * 2**20,
        int(used) * 2**20 if used.isdigit() else 0,
        driver,
        (int(numbers[1]), int(numbers[2])) if numbers else None,
    )


def driver_cuda(probe: Probe) -> str | None:
    """The newest CUDA version that the driver supports, which says nothing about what PyTorch uses."""
    answer = probe.run(["nvidia-smi"])
    found = re.search(r"CUDA Version:\s*([0-9]+\.[0-9]+)", answer.text) if answer else None
    return found[1] if found else None


def check_gpu(target: Target) -> Iterator[Finding]:
    """Judge the GPU and its driver, then run a kernel on it."""
    gpus = read_gpus(target.probe)
    if isinstance(gpus, str):
        yield fail(
            "gpu.missing",
            f"No CUDA device found ({gpus})",
            "rent a pod with an H100 80GB, or train the demo: make train",
        )
        return
    gpu = gpus[0]
    yield check_memory(gpu)
    if gpu.used_bytes > _BUSY_BYTES:
        text = f"{gpu.used_bytes / GIB:.1f} GB of the GPU's memory is in use by another process"
        yield warn("gpu.busy", text, "see who with nvidia-smi, and end it if it is yours")
    if len(gpus) > 1:
        yield warn("gpu.count", f"{len(gpus)} GPUs found; training uses the first", "rent one GPU: the others are idle")
    yield check_capability(gpu)
    yield from check_driver(target, gpu)
    yield check_compute(target, "cuda", MIN_CUDA)


def check_memory(gpu: Gpu) -> Finding:
    """The GPU's memory by class."""
    kind, size = memory_class(gpu.total_bytes), f"{gpu.total_bytes / GIB:.2f}".rstrip("0").rstrip(".")
    text = f"{gpu.name}: {size} GB of GPU memory ({kind})"
    advice = f"use {recommended_config(gpu.total_bytes)}"
    if kind == "INSUFFICIENT":
        return fail("gpu.memory", f"{text}; at least 20 GB are needed", advice)
    if kind == "EXCELLENT":
        return ok("gpu.memory", f"{text}; {advice}")
    return warn("gpu.memory", f"{text}; the H100 configuration is made for 80 GB", advice)


def check_capability(gpu: Gpu) -> Finding:
    """Compute capability 8.0 computes in bfloat16."""
    if gpu.capability is None:
        return unknown("gpu.capability", f"nvidia-smi does not tell the compute capability of {gpu.name}")
    text = f"compute capability {gpu.capability[0]}.{gpu.capability[1]}"
    if gpu.capability >= _MIN_BF16_CAPABILITY:
        return ok("gpu.capability", f"{text}: bfloat16 in hardware")
    return fail(
        "gpu.capability", f"{text} has no bfloat16", "use an Ampere or newer GPU (A100, H100, L40, RTX 30 and later)"
    )


def check_driver(target: Target, gpu: Gpu) -> Iterator[Finding]:
    """The driver against the least CUDA version, and against that of the PyTorch that is, or will be, installed."""
    newest = driver_cuda(target.probe)
    update = "rent a pod on a host with a newer driver (RunPod: filter by CUDA version)"
    if newest is None:
        yield unknown("gpu.driver-cuda", f"nvidia-smi does not tell which CUDA version driver {gpu.driver} supports")
    elif version_key(newest) < version_key(MIN_CUDA):
        text = f"driver {gpu.driver} supports CUDA {newest} at most; {MIN_CUDA} or newer is needed"
        yield fail("gpu.driver-cuda", text, update)
    else:
        yield ok("gpu.driver-cuda", f"driver {gpu.driver} supports CUDA up to {newest}")
    wheel = None if target.before_setup else torch_cuda_version()
    cuda, whose = (wheel, "the installed PyTorch") if wheel else (PINNED_CUDA, "the pinned PyTorch")
    needed = FIRST_DRIVER.get(version_key(cuda)[0])
    if needed is None:
        yield unknown("gpu.driver", f"which driver CUDA {cuda} ({whose}) needs is not known to this version")
    elif version_key(gpu.driver) < version_key(needed):
        yield fail("gpu.driver", f"driver {gpu.driver} is too old for CUDA {cuda} of {whose} (needs {needed})", update)
    else:
        yield ok("gpu.driver", f"driver {gpu.driver} runs CUDA {cuda} of {whose} (needs {needed})")
