"""How many tokens go through the model together (`max_tokens_per_chunk`), and in how many workers: rules without torch.

The budget bounds memory: besides the weights a step holds the activations of one pass and of the trunks above it,
which may hold twice a pass's tokens before they are recomputed instead.
"""

from __future__ import annotations

from pathlib import Path

MIN_TOKENS = 128
MAX_TOKENS = 16384
CPU_MAX_TOKENS = 1024
HELD_PASSES = 2
NUM_WORKERS = 2
_HIDDEN_FLOATS, _MLP_FLOATS = 14, 4
_MEMORY_SHARE = 0.6


def activation_bytes_per_token(
    *, hidden_size: int, intermediate_size: int, num_layers: int, bytes_per_float: int, checkpointing: bool
) -> int:
    """Estimate what one token's activations take until its backward pass.

    A layer keeps about 14 vectors of hidden size (norms, queries, keys, values, rotations, attention, residuals) and
    4 of the MLP's size; with recomputation only its input, and one layer at a time in full.

    Returns:
        Bytes.
    """
    layer = (_HIDDEN_FLOATS * hidden_size + _MLP_FLOATS * intermediate_size) * bytes_per_float
    return num_layers * hidden_size * bytes_per_float + layer if checkpointing else num_layers * layer


def token_budget(device: str, free_bytes: int | None, bytes_per_token: int) -> int:
    """Choose the tokens of one pass.

    On a CPU at most 1,024: larger passes leave the caches and were slower. Elsewhere at most 16,384, where matrix
    products have long been large enough. Otherwise what 60 % of the free memory holds of a pass and its trunks.

    Args:
        device: "cpu", "mps" or "cuda".
        free_bytes: free memory before the first step; None when it cannot be known.
        bytes_per_token: activations of one token.

    Returns:
        Tokens, a multiple of 128, at least 128.
    """
    most = CPU_MAX_TOKENS if device == "cpu" else MAX_TOKENS
    if free_bytes is None:
        return CPU_MAX_TOKENS
    fitting = int(free_bytes * _MEMORY_SHARE / (bytes_per_token * (1 + HELD_PASSES)))
    return max(MIN_TOKENS, min(most, fitting // MIN_TOKENS * MIN_TOKENS))


def choose_workers(*, merges: bool, checkpointing: bool, budget: int, num_threads: int) -> int:
    """Choose how many branches of a prefix tree are computed side by side; they share the budget and the threads.

    Args:
        merges: whether the adapter is merged into the weights: on a CPU, in float32, without dropout. Elsewhere passes
            would share state, or one of them fills the device.
        checkpointing: recomputation, which is there to save memory.
        budget: tokens that all of them may hold in passes.
        num_threads: of the process.

    Returns:
        2, or 1 where the branches go one after another.
    """
    room = budget >= NUM_WORKERS * MIN_TOKENS and num_threads >= NUM_WORKERS
    return NUM_WORKERS if merges and not checkpointing and room else 1


def free_system_bytes(meminfo: Path = Path("/proc/meminfo")) -> int | None:
    """Read Linux's estimate of the memory that can be had without swapping; None on other systems."""
    try:
        lines = meminfo.read_text().splitlines()
    except OSError:
        return None
    found = [int(line.split()[1]) * 1024 for line in lines if line.startswith("MemAvailable:")]
    return found[0] if found else None
