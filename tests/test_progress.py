"""Pace and the progress display."""

from __future__ import annotations

import sys

import pytest

from weatherman.progress import Pace, ProgressDisplay, format_duration


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(0, "0 s"), (89.4, "89 s"), (90, "2 min"), (720, "12 min"), (5399, "1 h 30 min"), (12_000, "3 h 20 min")],
)
def test_durations_as_people_say_them(seconds: float, words: str) -> None:
    assert format_duration(seconds) == words


def test_pace_counts_this_attempt_only() -> None:
    pace = Pace(first_step=5, last_step=10)
    assert (pace.tokens_per_s, pace.eta_s, pace.mean_step_s) == (0.0, 0.0, 0.0)
    pace.add(100, 2.0)
    pace.add(300, 2.0)
    assert pace.tokens_per_s == 100.0
    assert pace.last_tokens_per_s == 150.0
    assert pace.eta_s == 4 * 2.0


def test_plain_lines_every_few_steps_and_at_the_end(capsys: pytest.CaptureFixture[str]) -> None:
    pace = Pace(1, 5)
    with ProgressDisplay("TRAINING-DEMO", 5, 1, logging_steps=2) as show:
        for step in range(1, 6):
            pace.add(10, 1.0)
            show.step(step, 2.5, pace)
    assert capsys.readouterr().out.splitlines() == [
        "[TRAINING-DEMO] step 2/5 · loss 2.500 · 10 tokens/s · 3 s left",
        "[TRAINING-DEMO] step 4/5 · loss 2.500 · 10 tokens/s · 1 s left",
        "[TRAINING-DEMO] step 5/5 · loss 2.500 · 10 tokens/s · 0 s left",
    ]


def test_a_terminal_gets_a_bar_on_standard_error(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    pace = Pace(1, 2)
    with ProgressDisplay("TRAINING-DEMO", 2, 1, logging_steps=1) as show:
        pace.add(10, 1.0)
        show.step(1, 2.5, pace)
    assert capsys.readouterr().out == ""
