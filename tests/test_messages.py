"""Printed lines: the grammar, escaping, redaction and colour."""

from __future__ import annotations

import io
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from weatherman import messages
from weatherman.errors import Problems, WeathermanError


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_lines_are_spelt_exactly(capsys: pytest.CaptureFixture[str]) -> None:
    messages.say("SETUP-H100", "Checking CUDA")
    messages.success("CUDA 12.4 found")
    messages.warning("24.0 GB free, 30 GB recommended")
    messages.resume("Found checkpoint at step 500. Resuming training.")
    messages.error(WeathermanError("gpu.none", "No CUDA device found.", "rent one."))
    assert capsys.readouterr().out == (
        "[SETUP-H100] Checking CUDA\n"
        "✅ SUCCESS: CUDA 12.4 found\n"
        "⚠️ WARNING: 24.0 GB free, 30 GB recommended\n"
        "⚠️ RESUME: Found checkpoint at step 500. Resuming training.\n"
        "❌ ERROR: No CUDA device found. Hint: rent one.\n"
    )


def test_several_problems_are_printed_one_a_line(capsys: pytest.CaptureFixture[str]) -> None:
    messages.error(Problems("x", [WeathermanError("a", "first."), WeathermanError("b", "second.")], "2 problems."))
    assert capsys.readouterr().out.splitlines() == ["❌ ERROR: first.", "❌ ERROR: second.", "❌ ERROR: 2 problems."]


def test_unknown_tag_is_a_mistake_of_the_program() -> None:
    with pytest.raises(ValueError, match="unknown tag 'NOISE'"):
        messages.say("NOISE", "x")


@given(st.text())
def test_no_text_can_break_its_line_or_move_the_cursor(text: str) -> None:
    stream = io.StringIO()
    messages._print("[DATA]", "1", text, stream)
    printed = stream.getvalue()
    assert printed.endswith("\n")
    assert printed[:-1].splitlines() in ([printed[:-1]], [])
    assert not any(ord(char) < 32 or 0x7F <= ord(char) < 0xA0 for char in printed[:-1])


def test_forged_verdict_stays_text(capsys: pytest.CaptureFixture[str]) -> None:
    messages.say("DATA", "Lisbon\n✅ SUCCESS: trained\x1b[2K\r")
    assert capsys.readouterr().out == "[DATA] Lisbon\\n✅ SUCCESS: trained\\x1b[2K\\r\n"


def test_secrets_never_reach_a_line(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv("WANDB_API_KEY", "0123456789abcdef")
    monkeypatch.setenv("MY_PASSWORD", "short")
    messages.warning("key 0123456789abcdef, hub hf_ABCDEFGHIJKLMNOPQRSTUV, short word")
    assert capsys.readouterr().out == "⚠️ WARNING: key [redacted], hub [redacted], short word\n"


@pytest.mark.parametrize(
    ("stream", "no_color", "coloured"), [(Terminal(), "", True), (Terminal(), "1", False), (io.StringIO(), "", False)]
)
def test_colour_only_on_a_terminal(monkeypatch: pytest.MonkeyPatch, stream: Any, no_color: str, coloured: bool) -> None:
    monkeypatch.setenv("NO_COLOR", no_color)
    messages._print("✅ SUCCESS:", "32", "done", stream)
    assert stream.getvalue() == ("\033[32m✅ SUCCESS:\033[0m done\n" if coloured else "✅ SUCCESS: done\n")
