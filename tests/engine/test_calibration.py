"""Calibration: faults planted in kernels and in child processes, and the rules about what was timed."""

import json
import sys
from dataclasses import replace

import pytest
import torch

from command_line import weatherman
from weatherman.config.load import load_config
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
from weatherman.engine.torch import kernels
from weatherman.engine.torch.trial import kernel_problem
from weatherman.engine.tuning import Bench, apply, calibrate, warnings_of
from weatherman.run.calibrate import _largest_step, calibrated
from weatherman.run.training_data import load_training_data

# A child without torch: the kernel named flex behaves as argv says, every setting is timed at once.
CHILD = """
import json, os, sys, time
request = json.load(sys.stdin)
if request["kind"] == "timing":
    for kernel, speed in zip(request["kernels"], (10.0, 20.0, 30.0)):
        setting = {"kernel": kernel, "recompute": False, "budget_tokens": 256}
        print(json.dumps({"setting": setting, "tokens_per_s": speed, "memory_share": 0.0, "problem": ""}), flush=True)
    if sys.argv[1] == "timing hangs":
        time.sleep(600)
elif request["kernel"] == "flex" and sys.argv[1] == "hangs":
    time.sleep(600)
elif request["kernel"] == "flex" and sys.argv[1] == "dies":
    os._exit(139)
elif request["kernel"] == "flex" and sys.argv[1] == "differs":
    print("a library says something"); print(json.dumps({"problem": "its dK differs"}))
else:
    print(json.dumps({"problem": ""}))
"""


@pytest.fixture
def setting(tiny, tmp_path, monkeypatch):
    monkeypatch.setenv("WEATHERMAN_CACHE", str(tmp_path / "cache"))
    config = load_config(tiny, ["max_train_examples=8", "gradient_checkpointing=auto", "max_tokens_per_chunk=null"])
    data = load_training_data(config)
    return config, data, _largest_step(config, data)


def bench(fault="", **changes):
    child = (sys.executable, "-c", CHILD, fault)
    return Bench("cpu", {"torch": "2", "driver": "1"}, ("flex", "sdpa"), (4, 2, 8), **{"child": child, **changes})


class Faulty:
    """A kernel that is sound but for one fault."""

    def __init__(self, fault, layout, sound):
        self.fault, self.layout, self.sound = fault, layout, sound

    def attend(self, query, key, value, past, scaling):
        if self.fault == "raises":
            raise RuntimeError("no such kernel for sm_90")
        if self.fault == "memory":
            raise torch.OutOfMemoryError("CUDA out of memory")
        output = self.sound.attend(query, key, value, past, scaling)
        if self.fault == "nan":
            return output * float("nan")
        if self.fault == "differs":
            return output * 1.01
        if self.fault == "gradient":
            return output + 0.05 * (key.mean() - key.mean().detach())
        if self.fault == "leaks":
            return output + value[:, :, self.layout.offsets[1]].mean()
        return output


FAULTS = {
    "none": "",
    "raises": "RuntimeError: no such kernel for sm_90",
    "memory": "out of memory",
    "nan": "its output is not a number",
    "differs": "its output differs from float32 SDPA by 0.01",
    "gradient": "its dK differs from float32 SDPA",
    "leaks": "a branch sees its sibling",
}


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_of_a_kernel_is_named(fault, dtype, monkeypatch):
    if dtype == "bfloat16" and fault in ("differs", "gradient"):
        return  # too small to be told from rounding there
    sound = kernels.prepare_kernel

    def prepare(kernel, layout, groups, dtype, device):
        made = sound("sdpa", layout, groups, dtype, device)
        return Faulty(fault, layout, made) if kernel == "flex" else made

    monkeypatch.setattr(kernels, "prepare_kernel", prepare)
    problem = kernel_problem({"kernel": "flex", "device": "cpu", "dtype": dtype, "heads": [4, 2, 8]})
    assert problem.startswith(FAULTS[fault])
    assert bool(problem) == bool(FAULTS[fault])


@pytest.mark.parametrize(
    ("fault", "words"), [("dies", "its process died with exit code 139"), ("differs", "its dK differs")]
)
def test_a_kernel_that_fails_is_passed_over_with_one_warning(setting, fault, words):
    config, _, plan = setting
    found = calibrate(config, plan, bench(fault), lambda text: None)
    assert found.trials == (Trial("flex", words), Trial("sdpa"))
    assert warnings_of(found.trials) == [f"attention kernel flex is passed over: {words}"]
    assert found.best == Setting("sdpa", recompute=False, budget_tokens=256)


def test_a_kernel_that_hangs_is_ended(setting):
    config, _, plan = setting
    found = calibrate(config, plan, bench("hangs", trial_limit_s=3.0), lambda text: None)
    assert found.trials[0] == Trial("flex", "it did not end within 3 s")
    assert found.best == Setting("sdpa", recompute=False, budget_tokens=256)


def test_what_was_timed_before_the_time_ran_out_counts(setting):
    config, _, plan = setting
    found = calibrate(config, plan, bench("timing hangs", time_limit_s=8.0), lambda text: None)
    assert found.best == Setting("sdpa", recompute=False, budget_tokens=256)
    assert len(found.timings) == 2


def test_with_no_time_left_nothing_is_found_and_nothing_raised(setting):
    config, _, plan = setting
    found = calibrate(config, plan, bench(time_limit_s=0.0), lambda text: None)
    assert found.best is None
    assert len(warnings_of(found.trials)) == 2


def test_what_was_found_is_remembered_by_machine_and_configuration(setting):
    config, _, plan = setting
    said = []
    first = calibrate(config, plan, bench(), said.append)
    blind = bench(child=("false",))
    assert calibrate(config, plan, blind, said.append) == first
    assert "found before" in said[-1]
    assert calibrate(config, plan, blind, said.append, fresh=True).best is None
    other = replace(blind, facts={**blind.facts, "driver": "600.1"})
    assert calibrate(config, plan, other, said.append).best is None
    assert calibrate(config.model_copy(update={"lora_r": 16}), plan, blind, said.append).best is None


@pytest.mark.slow
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
