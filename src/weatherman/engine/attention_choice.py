"""Which attention kernel a run uses: a rule without torch, so that preflight can apply it too."""

from __future__ import annotations

from typing import Literal

from weatherman.errors import WeathermanError

Kernel = Literal["sdpa", "flex", "flash"]
_MIN_FLEX_CAPABILITY = (8, 0)


def choose_attention(
    wanted: Literal["auto", "sdpa", "flex", "flash"],
    *,
    device: str,
    capability: tuple[int, int] | None = None,
    has_triton: bool = False,
    has_flash: bool = False,
) -> Kernel:
    """Choose the kernel of tree attention.

    `auto` is SDPA everywhere but on a CUDA device that can compile FlexAttention. It never takes flash-attn, which is
    there only when someone installed it and asks for it: its results on trees have not been measured.

    Args:
        wanted: the configuration's `attn_implementation`.
        device: "cpu", "mps" or "cuda".
        capability: the CUDA device's compute capability.
        has_triton: whether triton, which compiles FlexAttention, can be imported.
        has_flash: whether flash-attn can be imported.

    Returns:
        The kernel.

    Raises:
        WeathermanError: the wanted kernel cannot run there.
    """
    can_flex = device == "cuda" and has_triton and (capability or (0, 0)) >= _MIN_FLEX_CAPABILITY
    if wanted == "auto":
        return "flex" if can_flex else "sdpa"
    if wanted == "flex" and not can_flex:
        raise _refuse(wanted, device, "FlexAttention needs triton and a CUDA GPU of compute capability 8.0 or more")
    if wanted == "flash" and not (device == "cuda" and has_flash):
        raise _refuse(wanted, device, "it needs a CUDA GPU and the package flash-attn")
    return wanted


def _refuse(wanted: str, device: str, reason: str) -> WeathermanError:
    return WeathermanError(
        "engine.attention",
        f"attn_implementation: {wanted} cannot be used on this {device} device: {reason}.",
        "set attn_implementation: auto.",
    )
