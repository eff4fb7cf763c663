"""How many tokens go together, and the allocator's settings: pure rules."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from weatherman.engine.token_budget import activation_bytes_per_token, free_system_bytes, token_budget
from weatherman.system.process_env import PROCESS_SETTINGS, process_settings

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


def test_process_settings_respect_the_user_and_are_made_once() -> None:
    settings = process_settings({"MALLOC_TOP_PAD_": "1"}, "linux")
    assert settings == {
        "OMP_WAIT_POLICY": "PASSIVE",
        "MALLOC_MMAP_MAX_": PROCESS_SETTINGS["MALLOC_MMAP_MAX_"],
        "MALLOC_TRIM_THRESHOLD_": PROCESS_SETTINGS["MALLOC_TRIM_THRESHOLD_"],
        "WEATHERMAN_PROCESS": "1",
    }
    assert process_settings(settings, "linux") == {}
    assert process_settings({}, "darwin") == {}


@pytest.mark.skipif(sys.platform != "linux", reason="glibc's settings")
def test_the_process_starts_again_once_with_its_arguments() -> None:
    code = (
        "import os, sys; from weatherman.system.process_env import restart_with_process_settings as r; "
        "print(os.getpid(), os.environ.get('MALLOC_MMAP_MAX_'), sys.argv[1:], flush=True); r()"
    )
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("MALLOC", "WEATHERMAN"))}
    command = [sys.executable, "-c", code, "one", "two words"]
    lines = subprocess.run(command, capture_output=True, text=True, check=True, env=environment).stdout.splitlines()
    pids = {line.split()[0] for line in lines}
    assert [line.split(maxsplit=1)[1] for line in lines] == ["None ['one', 'two words']", "0 ['one', 'two words']"]
    assert len(pids) == 1
