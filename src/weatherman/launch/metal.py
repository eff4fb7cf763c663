"""What Metal said when it ended the trainer: MLX cannot catch it, the process aborts with a line in its log."""

from __future__ import annotations

import re
from pathlib import Path

MIN_CHUNK_TOKENS = 64  # the configuration's least
_TAIL_BYTES = 64 * 1024
_SIGNS = {
    r"Insufficient Memory|CallbackErrorOutOfMemory|Attempting to allocate": "Metal ran out of memory",
    r"GPU Timeout|CallbackErrorTimeout|GPU Hang|Impacting Interactivity": "a pass took Metal too long",
}


def metal_cause(log: Path, begin: int) -> str:
    """Say what Metal's last words mean.

    Args:
        log: the trainer's.
        begin: where this attempt's part of it begins, in bytes.

    Returns:
        The cause; empty if Metal said nothing that is known.
    """
    try:
        with log.open("rb") as file:
            file.seek(max(begin, log.stat().st_size - _TAIL_BYTES))
            text = file.read().decode("utf-8", "replace")
    except OSError:
        return ""
    if "[METAL]" not in text and "[metal::" not in text:
        return ""
    return next((words for pattern, words in _SIGNS.items() if re.search(pattern, text)), "")


def smaller_chunks(num_tokens: int) -> int | None:
    """Half as many tokens in a pass; None if they cannot be fewer."""
    return max(MIN_CHUNK_TOKENS, num_tokens // 2) if num_tokens > MIN_CHUNK_TOKENS else None
