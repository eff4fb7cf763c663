"""Bad input through the real command line: one clear error, exit code 1, no traceback, nothing lost."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from command_line import weatherman

Row = dict[str, Any]


def first_rows(config: Path) -> list[Row]:
    return [json.loads(line) for line in (config.parent / "train.jsonl").read_text().splitlines()]


def write(config: Path, data: bytes | str | list[Row]) -> None:
    path = config.parent / "train.jsonl"
    if isinstance(data, list):
        data = "".join(json.dumps(row) + "\n" for row in data)
    path.write_bytes(data.encode() if isinstance(data, str) else data)


def fails(config: Path, *more: str, code: int = 1) -> str:
    """Train, expect the exit code, no traceback, no checkpoint; give what was printed."""
    done = weatherman("train", "-c", config, *more, cache=config.parent / "cache")
    printed = done.stdout + done.stderr
    assert done.returncode == code, printed
    assert "Traceback" not in printed
    assert not list((config.parent / "run").glob("checkpoint-*"))
    return done.stdout


def change(place: int, edit: Callable[[Row], object]) -> Callable[[Path], None]:
    def apply(config: Path) -> None:
        rows = first_rows(config)
        edit(rows[place])
        write(config, rows)

    return apply


def unknown_tool(row: Row) -> None:
    row["messages"][2]["tool_calls"][0]["function"]["name"] = "get_tides"


def other_id(row: Row) -> None:
    row["messages"][3]["tool_call_id"] = "other0001"


def no_city(row: Row) -> None:
    row["messages"][2]["tool_calls"][0]["function"]["arguments"] = "{}"


def swapped(row: Row) -> None:
    row["messages"][1], row["messages"][2] = row["messages"][2], row["messages"][1]


DATA: dict[str, tuple[Callable[[Path], None], str]] = {
    "missing": (lambda config: (config.parent / "train.jsonl").unlink(), "there is no data file {train}"),
    "empty": (lambda config: write(config, b""), "{train} is empty"),
    "binary": (lambda config: write(config, bytes(range(256)) * 9), "{train} is not a text file"),
    "folder": (lambda config: ((config.parent / "train.jsonl").unlink(), (config.parent / "train.jsonl").mkdir()), "{train} is a folder"),
    "broken-json": (
        lambda config: write(config, (config.parent / "train.jsonl").read_text().replace('"messages"', '"messages', 1)),
        "train.jsonl:1: not JSON at column 16",
    ),
    "role-order": (change(1, swapped), "train.jsonl:2 messages[1]"),
    "undeclared-tool": (change(2, unknown_tool), "train.jsonl:3 messages[2].tool_calls[0].function.name"),
    "id": (change(1, other_id), "train.jsonl:2 messages[3].tool_call_id"),
    "argument": (
        change(5, no_city),
        'train.jsonl:6 messages[2].tool_calls[0].function.arguments: missing "city" (required by get_weather)',
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", DATA)
def test_bad_data_names_the_place(tiny: Path, case: str) -> None:
    spoil, words = DATA[case]
    spoil(tiny)
    errors = [line for line in fails(tiny).splitlines() if line.startswith("❌ ERROR: ")]
    first = errors[0]
    assert words.format(train=tiny.parent / "train.jsonl") in first


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("\tlearning_rate: 1e-3", "tab"),
        ("lora_r: 8\nlora_r: 16", "lora_r"),
        ("run_name: !!python/object/apply:os.system ['touch pwned']", "tag"),
        ("run_name: $(touch pwned)", "run_name"),
        ("learning_rte: 1e-3", "did you mean learning_rate"),
        ("lora_r: 7", "lora_r"),
        ("save_steps: many", "save_steps"),
    ],
)
def test_bad_configuration_names_the_line(tiny: Path, line: str, words: str) -> None:
    text = "".join(one + "\n" for one in tiny.read_text().splitlines() if not one.startswith(("lora_r", "save_steps")))
    tiny.write_text(text + line + "\n")
    printed = fails(tiny)
    assert f"{tiny}:" in printed
    assert words.lower() in printed.lower()
    assert not (tiny.parent / "run").exists()
    assert not list(tiny.parent.rglob("pwned"))
    assert not Path("pwned").exists()


def test_unreadable_resume_metadata_is_refused_and_kept(tiny: Path) -> None:
    run = tiny.parent / "run"
    run.mkdir()
    (run / "resume_metadata.json").write_text('{"resume_count": ')
    printed = fails(tiny)
    assert f"{run}/resume_metadata.json cannot be used" in printed
    assert "--reset-crash-loop" in printed
    assert (run / "resume_metadata.json").read_text() == '{"resume_count": '


def test_output_dir_that_is_a_file(tiny: Path) -> None:
    (tiny.parent / "run").write_text("mine")
    assert "cannot be made: File exists" in fails(tiny)
    assert (tiny.parent / "run").read_text() == "mine"


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    place = tmp_path / "disk"
    place.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", str(place)]
    if os.geteuid() != 0 or subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("a small file system cannot be mounted here")
    yield place
    subprocess.run(["umount", "-l", str(place)], check=True)


def test_full_disk_is_told_before_a_save_is_begun(tiny: Path, small_disk: Path) -> None:
    printed = fails(tiny, "--set", f"output_dir={small_disk}/run")
    assert "MB free in" in printed
    assert not list(small_disk.rglob("checkpoint-*"))


def test_read_only_output_dir(tiny: Path, small_disk: Path) -> None:
    subprocess.run(["mount", "-o", "remount,ro", str(small_disk)], check=True)
    assert "Read-only file system" in fails(tiny, "--set", f"output_dir={small_disk}/run")
    subprocess.run(["mount", "-o", "remount,rw", str(small_disk)], check=True)


def test_crash_loop_is_exit_code_2_and_said_exactly(tiny: Path) -> None:
    for _ in range(3):
        fails(tiny, "--set", "model_name_or_path=/no/such/model")
    printed = fails(tiny, "--set", "model_name_or_path=/no/such/model", code=2)
    assert printed.startswith("❌ ERROR: Crash loop detected")
    status = weatherman("status", tiny.parent / "run", "--json", cache=tiny.parent / "cache")
    assert status.returncode == 2
    assert json.loads(status.stdout)["state"] == "crash-loop"
    assert "--reset-crash-loop" in json.loads(status.stdout)["next_action"]
    done = weatherman("train", "-c", tiny, "--reset-crash-loop", cache=tiny.parent / "cache")
    assert done.returncode == 0, done.stdout
