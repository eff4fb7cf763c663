"""The judgement of a run's first steps, from events alone and with a clock of the test's own."""

from __future__ import annotations

import datetime
import math
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from weatherman.errors import WeathermanError
from weatherman.launch.follow import Follower, last_lines, relay
from weatherman.launch.watch import Expectation, Watch, expect, measured_lines
from weatherman.messages import LINE
from weatherman.run.spending import Spending

NOON = datetime.datetime(2026, 1, 1, 12, tzinfo=datetime.timezone.utc)


def step(number: int, loss: Any = 2.0, *, tokens: int = 1000, tokens_per_s: float = 500.0) -> dict[str, Any]:
    stamp = (NOON + datetime.timedelta(seconds=2 * number)).isoformat(timespec="milliseconds")
    return {
        "kind": "step", "time": stamp, "step": number, "loss": loss, "num_effective_tokens": tokens,
        "tokens_per_s": tokens_per_s,
    }  # fmt: skip


def watched(losses: list[Any], expected: Expectation | None = None, **changes: Any) -> Watch:
    watch = Watch(expected or Expectation())
    for number, loss in enumerate(losses, start=1):
        watch.see(step(number, loss, **changes), float(number))
    return watch


def trouble(watch: Watch, now_s: float = 100.0) -> WeathermanError:
    problem = watch.problem(now_s)
    assert problem is not None
    return problem


def test_good_run_is_complete_after_its_steps_and_not_before() -> None:
    losses = [3.0 - 0.01 * number for number in range(99)]
    watch = watched(losses)
    assert watch.problem(100.0) is None
    assert not watch.complete
    watch.see(step(100, 2.0), 100.0)
    assert watch.complete


@pytest.mark.parametrize("loss", ["NaN", "Infinity", None, math.nan, math.inf])
def test_loss_that_is_no_number_is_told_at_once(loss: Any) -> None:
    problem = trouble(watched([2.0, loss]))
    assert problem.code == "watch.loss"
    assert problem.message == f"the loss of step 2 is {loss}."


def test_exploding_loss_is_told_and_noise_is_not() -> None:
    noisy = [2.0, 2.6, 1.4, 2.8, 1.7] * 8
    assert watched(noisy).problem(0.0) is None
    assert watched([*noisy, 9.0, 9.0]).problem(0.0) is None  # two bad batches
    problem = trouble(watched([*noisy, 9.0, 11.0, 12.0]))
    assert problem.code == "watch.loss"
    assert problem.message == "the loss explodes: 9.00 over the last 5 steps, after 2.00."


def test_small_losses_may_double() -> None:
    assert watched([0.01] * 10 + [0.5] * 10).problem(0.0) is None


def test_silence_counts_between_steps_only() -> None:
    watch = Watch(Expectation(silence_s=60.0))
    watch.see({"kind": "start"}, 0.0)
    watch.see({"kind": "phase", "message": "loading the model"}, 0.0)
    assert watch.problem(3000.0) is None
    watch.see({"kind": "engine"}, 3000.0)
    assert watch.problem(3060.0) is None
    assert trouble(watch, 3061.0).message == "no step was completed for 61 s (the plan allows 60 s)."
    watch.see(step(1), 3061.0)
    watch.see({"kind": "checkpoint"}, 3100.0)
    assert watch.problem(3160.0) is None
    assert trouble(watch, 3161.0).code == "watch.silence"
    watch.see({"kind": "phase", "message": "measuring the effect"}, 3161.0)
    assert watch.problem(9999.0) is None


def test_expectation_is_derived_from_the_plan() -> None:
    expected = expect(30_000.0, 1000, 6_000_000, judge_speed=True)
    assert expected.silence_s == 20 * 30.0
    assert expected.tokens_per_s == 200.0
    assert expect(100.0, 1000, 1, judge_speed=False) == Expectation(1800.0, None)
    assert expect(100.0, 1000, 1, judge_speed=True).silence_s == 300.0


def test_throughput_far_below_the_plan_is_told_after_some_steps() -> None:
    expected = Expectation(tokens_per_s=1000.0)
    assert watched([2.0] * 19, expected, tokens_per_s=300.0).problem(0.0) is None
    problem = trouble(watched([2.0] * 20, expected, tokens_per_s=300.0))
    assert problem.message == "300 tokens/s are far below the plan, which has 1000 at the slowest."
    assert watched([2.0] * 20, expected, tokens_per_s=334.0).problem(0.0) is None


def test_first_steps_compile_and_do_not_count_as_slow() -> None:
    watch = Watch(Expectation())
    for number in range(1, 11):
        watch.see(step(number, tokens_per_s=1.0 if number <= 2 else 500.0), 0.0)
    assert watch.tokens_per_s == pytest.approx(500.0)


def test_measured_lines_say_speed_time_left_and_rate_times_hours() -> None:
    assert measured_lines(watched([2.0] * 101), 1750, Spending(100.0, 3.0 * 100 / 3600), NOON) == [
        "Measured 500 tokens/s over 101 steps, 2.00 s a step",
        "1,750 steps are left: about 58 min, until 2026-01-01 12:58 UTC",
        "Cost of this run so far: $0.08 = $3.00 an hour x 0.03 hours",
        "Cost up to its last step: about $3.00 = $3.00 an hour x 1.00 hours",
    ]
    assert measured_lines(watched([2.0] * 101), 0, Spending(100.0, None), NOON) == [
        "Measured 500 tokens/s over 101 steps, 2.00 s a step"
    ]
    assert measured_lines(Watch(Expectation()), 5, Spending(1.0, 3.0), NOON) == []


@given(st.lists(st.binary(max_size=20).map(lambda data: data.replace(b"\n", b"")), max_size=8), st.data())
def test_follower_gives_each_line_once_however_it_is_written(
    tmp_path_factory: pytest.TempPathFactory, lines: list[bytes], data: st.DataObject
) -> None:
    path = tmp_path_factory.mktemp("follow") / "file"
    whole = b"".join(line + b"\n" for line in lines)
    cuts = sorted(data.draw(st.lists(st.integers(0, len(whole)), max_size=4)))
    follower, seen = Follower(path), []
    assert follower.lines() == []
    for begin, end in zip([0, *cuts], [*cuts, len(whole)], strict=True):
        with path.open("ab") as file:
            file.write(whole[begin:end])
        seen += follower.lines()
    assert seen == lines


def test_follower_begins_where_it_is_told_and_again_when_the_file_is_new(tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    path.write_bytes(b'{"kind": "old"}\n')
    follower = Follower(path, path.stat().st_size)
    with path.open("ab") as file:
        file.write(b'torn{\n{"kind": "step"}\n[1]\n{"kind": "fin')
    assert follower.events() == [{"kind": "step"}]
    path.write_bytes(b'{"kind": "new"}\n')
    assert follower.events() == [{"kind": "new"}]


@pytest.mark.parametrize(
    ("line", "shown"),
    [
        ("✅ SUCCESS: done", "✅ SUCCESS: done"),
        ("⚠️ RESUME: Found", "⚠️ RESUME: Found"),
        ("[TRAINING-DEMO] step 1", "[TRAINING-DEMO] step 1"),
        ("[FORGED] step 1", "[TRAINING-M4] [FORGED] step 1"),
        ("Traceback (most recent call last):", "[TRAINING-M4] Traceback (most recent call last):"),
        ("❌ ERROR: \x1b[2J", "❌ ERROR: \\x1b[2J"),
    ],
)
def test_relayed_lines_keep_the_grammar(line: str, shown: str, capsys: pytest.CaptureFixture[str]) -> None:
    relay(line, "TRAINING-M4")
    assert capsys.readouterr().out == f"{shown}\n"
    assert LINE.match(shown)


def test_last_lines_of_a_long_log(tmp_path: Path) -> None:
    path = tmp_path / "log"
    path.write_text("".join(f"line {number}\n\n" for number in range(20_000)))
    assert last_lines(path, 2) == ["line 19998", "line 19999"]
    assert last_lines(tmp_path / "none", 2) == []
