"""Calibration: faults planted in a kernel, in real child processes on the CPU; and the rules about what was timed."""

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from command_line import weatherman
from weatherman.config.schema import load_config
from weatherman.engine.calibration import (
    Calibration,
    Setting,
    Timing,
    Trial,
    budgets,
    cache_key,
    fastest,
    first_settings,
    further_settings,
    judge_memory,
    table,
)
from weatherman.engine.token_budget import MIN_TOKENS
from weatherman.engine.torch.bench import find_bench
from weatherman.engine.tuning import apply, calibrate, warnings_of
from weatherman.run.calibrate import _largest_step, calibrated
from weatherman.run.training_data import load_training_data

CHILD = Path(__file__).parents[1] / "support" / "faulty_child.py"


@pytest.fixture
def setting(tiny, tmp_path, monkeypatch):
    monkeypatch.setenv("WEATHERMAN_CACHE", str(tmp_path / "cache"))
    config = load_config(tiny, ["max_train_examples=8", "gradient_checkpointing=auto", "max_tokens_per_chunk=null"])
    data = load_training_data(config)
    return config, data, _largest_step(config, data)


def planted(config, fault, **changes):
    bench = find_bench(config)
    return replace(bench, kernels=("flex", "sdpa"), child=(sys.executable, str(CHILD), fault), **changes)


FAULTS = {
    "raises": "RuntimeError: no such kernel for sm_90",
    "dies": "its process died with exit code",
    "memory": "out of memory",
    "nan": "its output is not a number",
    "differs": "its output differs from float32 SDPA by 0.01",
    "leaks": "a branch sees its sibling",
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_faulty_kernel_is_named_and_passed_over(setting, fault):
    config, _, plan = setting
    bench = planted(config, fault)
    found = calibrate(replace_open(config), plan, bench, lambda text: None)
    assert [one.kernel for one in found.trials if not one.problem] == ["sdpa"]
    (warning,) = warnings_of(found.trials)
    assert "flex" in warning
    assert FAULTS[fault] in warning
    assert found.best is not None
    assert found.best.kernel == "sdpa"


def replace_open(config):
    """Less to time: one budget, no recomputation."""
    return config.model_copy(update={"gradient_checkpointing": False, "max_tokens_per_chunk": 256})


def test_a_kernel_that_hangs_is_ended_and_leaves_no_process(setting, monkeypatch):
    config, _, plan = setting
    monkeypatch.setattr("weatherman.engine.tuning._TRIAL_S", 15.0)
    found = calibrate(replace_open(config), plan, planted(config, "hangs"), lambda text: None)
    assert found.trials[0].problem == "it did not end within 15 s"
    assert found.best is not None
    left = subprocess.run(["ps", "-eo", "args"], capture_output=True, text=True, check=True).stdout
    assert not [line for line in left.splitlines() if str(CHILD) in line]


def test_a_sound_kernel_agrees(setting):
    config, _, plan = setting
    found = calibrate(replace_open(config), plan, planted(config, "none"), lambda text: None)
    assert found.trials == (Trial("flex"), Trial("sdpa"))


def test_with_no_time_left_nothing_is_found_and_nothing_raised(setting):
    config, _, plan = setting
    found = calibrate(config, plan, planted(config, "none", time_limit_s=0.0), lambda text: None)
    assert found.best is None
    assert len(warnings_of(found.trials)) == 2


def test_what_was_found_is_remembered_by_machine_and_configuration(setting):
    config, _, plan = setting
    bench = find_bench(config)
    config = replace_open(config)
    said = []
    first = calibrate(config, plan, bench, said.append)
    blind = replace(bench, child=("false",))
    assert calibrate(config, plan, blind, said.append) == first
    assert "found before" in said[-1]
    assert calibrate(config, plan, blind, said.append, fresh=True).best is None
    other = replace(blind, facts={**bench.facts, "driver": "600.1"})
    assert calibrate(config, plan, other, said.append).best is None
    assert calibrate(config.model_copy(update={"lora_r": 16}), plan, blind, said.append).best is None


def test_tune_answers_in_json_and_a_run_on_a_cpu_is_not_calibrated(tiny, setting, tmp_path):
    config, data, _ = setting
    assert calibrated(config, data, "PLAN", sharing=True) is config
    answer = weatherman("tune", "--config", tiny, "--set", "gradient_checkpointing=auto", "--json", cache=tmp_path)
    assert answer.returncode == 0, answer.stderr
    found = Calibration.from_json(json.loads(answer.stdout))
    assert found.trials == (Trial("sdpa"),)
    assert {one.setting.recompute for one in found.timings} == {False, True}
    assert found.best in [one.setting for one in found.timings if not one.problem]


def test_what_is_found_is_what_the_engine_gets(setting):
    config, _, _ = setting
    changed = apply(config, Setting("flex", recompute=True, budget_tokens=2048))
    assert (changed.attn_implementation, changed.recomputes, changed.max_tokens_per_chunk) == ("flex", True, 2048)


def test_the_fastest_that_runs_and_leaves_room_is_taken():
    slow, fast, full, broken = (Setting("flex", recompute=False, budget_tokens=n) for n in (1, 2, 3, 4))
    timings = [
        Timing(slow, 10.0),
        Timing(fast, 20.0),
        Timing(full, 30.0, 0.95, judge_memory(0.95)),
        Timing(broken, 0.0, problem="out of memory"),
    ]
    assert fastest(timings) == fast
    assert fastest(timings[2:]) is None
    lines = table(Calibration((), tuple(timings), fast))
    assert lines[1] == "flex, activations kept, 2 tokens a pass: 20 tokens/s (taken)"
    assert "leaves too little" in lines[0]


def test_budgets_and_rounds():
    assert budgets(16384) == [16384, 8192, 4096]
    assert budgets(200) == [MIN_TOKENS]
    largest = {False: 1024, True: 4096}
    first = first_settings(["flex", "sdpa"], [False, True], largest)
    assert [(one.kernel, one.recompute, one.budget_tokens) for one in first] == [
        ("flex", False, 1024),
        ("sdpa", False, 1024),
    ]
    timed = [Timing(first[0], 1.0), Timing(first[1], 2.0)]
    choices = {again: budgets(top) for again, top in largest.items()}
    more = further_settings(timed, ["flex", "sdpa"], [False, True], choices)
    assert {one.kernel for one in more} == {"sdpa"}
    assert len(more) == 5
    assert cache_key({"a": 1}) != cache_key({"a": 2})
