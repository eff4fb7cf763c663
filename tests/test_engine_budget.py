"""How many tokens go through the model together: a pure rule."""

from __future__ import annotations

from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from weatherman.engine.token_budget import activation_bytes_per_token, free_system_bytes, token_budget

MISTRAL = {"hidden_size": 4096, "intermediate_size": 14336, "num_layers": 32, "bytes_per_float": 2}


def test_the_budget_follows_free_memory() -> None:
    assert token_budget("cuda", 3 * 1000 * 2**20, 2**20) == 512  # 60 % of 3,000 MB over 3 passes: 600 tokens
    assert token_budget("cuda", 2**40, 2**20) == 16384
    assert token_budget("cpu", 2**40, 2**20) == 1024
    assert token_budget("cpu", 2**20, 2**20) == 128
    assert token_budget("mps", None, 2**20) == 1024


@given(st.sampled_from(["cpu", "cuda", "mps"]), st.integers(0, 2**42), st.integers(1, 2**28))
def test_the_budget_is_whole_blocks_and_grows_with_memory(device: str, free: int, per_token: int) -> None:
    budget = token_budget(device, free, per_token)
    assert budget % 128 == 0
    assert 128 <= budget <= token_budget(device, 2 * free, per_token)


def test_recomputation_holds_far_less() -> None:
    kept = activation_bytes_per_token(**MISTRAL, checkpointing=False)
    recomputed = activation_bytes_per_token(**MISTRAL, checkpointing=True)
    assert kept == 32 * (14 * 4096 + 4 * 14336) * 2
    assert recomputed == 32 * 4096 * 2 + (14 * 4096 + 4 * 14336) * 2


def test_free_memory_is_read_where_the_system_tells(tmp_path: Path) -> None:
    (tmp_path / "meminfo").write_text("MemTotal: 100 kB\nMemFree: 10 kB\nMemAvailable:   50 kB\n")
    assert free_system_bytes(tmp_path / "meminfo") == 50 * 1024
    (tmp_path / "meminfo").write_text("MemTotal: 100 kB\n")
    assert free_system_bytes(tmp_path / "meminfo") is None
    assert free_system_bytes(tmp_path / "missing") is None
