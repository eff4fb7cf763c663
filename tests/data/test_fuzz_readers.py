"""Hostile input to every reader: a few thousand inputs always, more in the slow tests, a hundred thousand by `make fuzz`."""

from __future__ import annotations

import json
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fuzz import FRAGMENTS, MARKER, attack, fuzz, guarded, targets
from fuzz_guided import fuzz_reader
from strategies import rows
from weatherman import messages
from weatherman.checkpoints.manifest import verify_checkpoint
from weatherman.checkpoints.resume import read_resume
from weatherman.data.read import read_rows
from weatherman.errors import WeathermanError
from weatherman.run.events import read_events
from weatherman.run.status import read_status

HOSTILE = st.sampled_from([text.decode("utf-8", "replace") for text in FRAGMENTS]) | st.text(max_size=30)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | HOSTILE,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(HOSTILE, inner, max_size=4),
    max_leaves=12,
)
KEYS = (
    "run_id", "last_step", "last_checkpoint", "resume_count", "attempt", "last_resume_time", "clean_stop", "finished",
    "last_error", "format_version", "step", "files", "state", "total", "loss", "pid", "boot", "message", "patience_s",
    "updated_at", "updated_since_boot_s", "exit_code", "next_action", "kind", "time",
)  # fmt: skip
QUICK = settings(max_examples=100, deadline=None, suppress_health_check=list(HealthCheck))


def test_mutations_of_good_files(capsys: pytest.CaptureFixture[str]) -> None:
    counts, wrong = fuzz(2000, seed=11)
    assert wrong == []
    assert len(counts) == 10
    assert min(counts.values()) == 200


@pytest.mark.slow
def test_twenty_thousand_mutations() -> None:
    counts, wrong = fuzz(20_000, seed=2)
    assert wrong == []
    assert counts.total() == 20_000


@pytest.mark.slow
def test_inputs_bred_by_coverage() -> None:
    pytest.importorskip("atheris")
    num_inputs, num_branches, wrong = fuzz_reader("config", 10)
    assert wrong == ""
    assert num_inputs > 100
    assert num_branches > 100


def test_the_fuzzer_finds_what_it_looks_for() -> None:
    def forges(data: bytes) -> None:
        print(data.decode("utf-8", "replace"))

    def breaks(data: bytes) -> None:
        json.loads(data)

    with guarded() as folder:
        seeds = targets(folder)["status"][1]
        assert any("the line" in text for text in attack("forges", forges, seeds, 50, 1))
        assert any("JSONDecodeError" in text for text in attack("breaks", breaks, seeds, 50, 1))
    with pytest.raises(AssertionError, match="something was executed"), guarded() as folder:
        (folder / MARKER).touch()


@QUICK
@given(row=rows(text=HOSTILE.filter(str.strip), results=HOSTILE))
def test_hostile_text_in_every_field_of_a_row(tmp_path_factory: pytest.TempPathFactory, row: dict[str, object]) -> None:
    path = tmp_path_factory.getbasetemp() / "hostile.jsonl"
    path.write_text(json.dumps(row))
    for conversation, problems in read_rows(path):
        assert (conversation is None) == bool(problems)


@QUICK
@given(value=st.dictionaries(st.sampled_from(KEYS), JSON, max_size=12) | JSON)
def test_any_json_in_the_files_of_a_run(tmp_path_factory: pytest.TempPathFactory, value: object) -> None:
    run = tmp_path_factory.getbasetemp() / "json run"
    (run / "checkpoint-3").mkdir(parents=True, exist_ok=True)
    text = json.dumps(value)
    for name in (
        "resume_metadata.json",
        "progress.json",
        "status.json",
        "events.jsonl",
        "run.lock",
        "checkpoint-3/manifest.json",
    ):
        (run / name).write_text(text)
    with pytest.raises(WeathermanError, match="checkpoint-3 cannot be used"):
        verify_checkpoint(run / "checkpoint-3")
    with suppress(WeathermanError):
        read_resume(run)
    assert read_status(run).state in (
        "starting",
        "running",
        "stalled",
        "stopped",
        "finished",
        "failed",
        "crash-loop",
        "dead",
    )
    list(read_events(run / "events.jsonl"))


@QUICK
@given(text=HOSTILE | st.text(alphabet=st.characters(), max_size=60))
def test_no_text_moves_the_cursor_or_forges_a_line(text: str) -> None:
    line = messages.escape(text)
    assert len(line.splitlines()) <= 1
    assert not any(ord(char) < 32 or 127 <= ord(char) < 160 for char in line)
    assert Path(MARKER).exists() is False
