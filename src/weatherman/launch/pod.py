"""A finished run on a rented pod: its adapter is verified and listed, and the pod is stopped if asked."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

from weatherman.checkpoints.checkpoint import list_checkpoints
from weatherman.checkpoints.manifest import quick_check
from weatherman.errors import WeathermanError
from weatherman.system.fingerprint import hash_file

ADAPTER = "adapter"  # final_adapter.py, which is heavy to import
WEIGHTS_FILE = "adapter_model.safetensors"
CONFIG_FILE = "adapter_config.json"
_TIMEOUT_S = 120
_MAX_HEADER_BYTES = 2**25


def verify_adapter(run_dir: Path) -> list[tuple[str, int]]:
    """Prove that the final adapter is whole: its weights are those of the last checkpoint, whose hash was kept.

    Args:
        run_dir: the run's folder.

    Returns:
        Name and size in bytes of each file.

    Raises:
        WeathermanError: something is missing, cut short or different.
    """
    folder = run_dir / ADAPTER
    try:
        json.loads((folder / CONFIG_FILE).read_bytes())
        num_tensors = _count_tensors(folder / WEIGHTS_FILE)
        files = [(path.name, path.stat().st_size) for path in sorted(folder.iterdir())]
        if not num_tensors or not all(size for _, size in files):
            raise ValueError("it holds an empty file")
        _compare_with_last_checkpoint(run_dir, folder)
    except (OSError, ValueError, WeathermanError) as problem:
        reason = str(getattr(problem, "strerror", None) or problem).rstrip(".")
        raise WeathermanError(
            "adapter.damaged",
            f"the adapter in {folder} cannot be trusted: {reason}.",
            f"the checkpoints in {run_dir} are whole adapters too.",
        ) from problem
    return files


def _count_tensors(path: Path) -> int:
    """Read the header of a safetensors file and see that the data it announces is there."""
    with path.open("rb") as file:
        length = int.from_bytes(file.read(8), "little")
        if not 2 <= length <= _MAX_HEADER_BYTES:
            raise ValueError(f"{path.name} has no header")
        header: dict[str, Any] = json.loads(file.read(length))
    header.pop("__metadata__", None)
    end = max((int(tensor["data_offsets"][1]) for tensor in header.values()), default=0)
    if path.stat().st_size != 8 + length + end:
        raise ValueError(f"{path.name} is cut short")
    return len(header)


def _compare_with_last_checkpoint(run_dir: Path, folder: Path) -> None:
    for _, checkpoint in list_checkpoints(run_dir)[:1]:
        kept = quick_check(checkpoint).files.get(WEIGHTS_FILE)
        if kept and kept.sha256 != hash_file(folder / WEIGHTS_FILE):
            raise ValueError(f"{WEIGHTS_FILE} is not that of {checkpoint.name}")


def pod_id() -> str:
    """The id of the pod that this is.

    Raises:
        WeathermanError: it is no pod, or it cannot be stopped from inside.
    """
    name = os.environ.get("RUNPOD_POD_ID", "")
    if not re.fullmatch(r"[A-Za-z0-9_-]{1,64}", name):
        text = "--auto-stop-pod works on a RunPod pod only: RUNPOD_POD_ID names none."
        raise WeathermanError("launch.no-pod", text, "leave the option out.")
    if shutil.which("runpodctl") is None:
        text = "--auto-stop-pod needs runpodctl, which is not here."
        raise WeathermanError("launch.no-runpodctl", text, "RunPod's own images bring it; or leave the option out.")
    return name


def stop_pod() -> None:
    """Stop this pod, with the words of the newer or of the older runpodctl. What is on its volume stays.

    Raises:
        WeathermanError: neither worked; the pod still runs and still costs.
    """
    name, said = pod_id(), ""
    for words in (["pod", "stop"], ["stop", "pod"]):
        try:
            done = subprocess.run(
                ["runpodctl", *words, name], stdin=subprocess.DEVNULL, capture_output=True, text=True,
                timeout=_TIMEOUT_S, check=False,
            )  # fmt: skip
        except (OSError, subprocess.TimeoutExpired) as problem:
            said = str(problem)
            continue
        if done.returncode == 0:
            return
        said = (done.stderr or done.stdout).strip()
    text = f"pod {name} could not be stopped and still costs: {said or 'runpodctl gave no reason'}."
    raise WeathermanError("launch.pod-stop", text, "stop it at https://console.runpod.io/pods")
