"""Plans: shapes, formulas checked by hand and by measurement, refusals, and what is said of it all."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from machines import ROOT, TableProbe, assert_grammar
from weatherman.config.load import load_config
from weatherman.config.schema import TrainingConfig
from weatherman.errors import WeathermanError
from weatherman.models.shape import KNOWN, ModelShape, model_shape
from weatherman.planning import plan as plan_module
from weatherman.planning.limits import memory_limit
from weatherman.planning.memory import GIB, Held, estimate_memory, held_by_padding, held_by_tree
from weatherman.planning.plan import (
    chunk_tokens,
    make_plan,
    plan_workers,
    read_examples,
    run_memory,
)
from weatherman.planning.plan_report import plan_lines, report_plan
from weatherman.planning.time import estimate_time, run_device
from weatherman.preflight.config_check import check_memory, device_bytes, planned
from weatherman.preflight.target import Target
from weatherman.records import Rendered, describe_examples
from weatherman.rendering.rough_tokenizer import RoughTokenizer
from weatherman.steps.prefix_tree import build_tree, decide_sharing

MISTRAL = KNOWN["mistralai/Mistral-7B-Instruct-v0.3"]
SMOLLM = KNOWN["smollm2-135m-instruct"]
TRAIN = ROOT / "data/synthetic/final_train.jsonl"
ALL = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]


@pytest.fixture(autouse=True)
def few_conversations(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Work in a folder with the first conversations of the true data, and without a hub's cache."""
    with TRAIN.open() as file:
        (tmp_path / "train.jsonl").write_text("".join(line for line, _ in zip(file, range(160), strict=False)))
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HF_HOME", str(tmp_path / "hf"))


DATA = ("train_file=train.jsonl", "validation_file=train.jsonl")


def shipped(name: str, *overrides: str) -> TrainingConfig:
    return load_config(ROOT / f"configs/training_config_{name}.yaml", (*DATA, *overrides))


def example(ids: list[int], supervised: int) -> Rendered:
    mask = np.zeros(len(ids), np.bool_)
    mask[-supervised:] = True
    return Rendered(np.array(ids, np.int32), mask)


def test_known_shapes_have_the_published_parameter_counts() -> None:
    assert MISTRAL.num_parameters == 7_248_023_552
    assert SMOLLM.num_parameters == 134_515_008
    assert MISTRAL.num_adapter_parameters(16, ALL) == 41_943_040
    assert MISTRAL.num_computing_parameters == 7_248_023_552 - 32768 * 4096


def test_a_folder_s_shape_is_read_and_nonsense_is_unknown(tmp_path: Path) -> None:
    raw = {
        "num_hidden_layers": 2, "hidden_size": 64, "intermediate_size": 128, "num_attention_heads": 4,
        "num_key_value_heads": 2, "vocab_size": 100, "tie_word_embeddings": True,
    }  # fmt: skip
    (tmp_path / "config.json").write_text(json.dumps(raw))
    assert model_shape(str(tmp_path)) == ModelShape(2, 64, 128, 4, 2, 16, 100, tied=True)
    for text in ("{}", "[]", "nonsense", json.dumps({**raw, "num_attention_heads": 0})):
        (tmp_path / "config.json").write_text(text)
        assert model_shape(str(tmp_path)) is None
    assert model_shape("no/such-model") is None
    with pytest.raises(WeathermanError, match="shape of no/such-model is not known"):
        make_plan(shipped("h100", "model_name_or_path=no/such-model"))


def test_weights_adapter_and_optimizer_by_hand() -> None:
    config = shipped("h100")
    memory = estimate_memory(MISTRAL, config, Held(0, 0, 0, 0), device="cuda", dtype_bytes=2)
    assert memory.weights == 2 * 7_248_023_552
    assert memory.adapter == 2 * 4 * 41_943_040
    assert memory.optimizer == 2 * 4 * 41_943_040
    assert memory.activations == 0


def test_merged_weights_count_on_a_cpu_alone_and_without_dropout() -> None:
    adapted = 30 * (576 * 576 * 2 + 576 * 192 * 2 + 576 * 1536 * 3)
    config = TrainingConfig()
    held = Held(0, 0, 0, 0)
    with_copy = estimate_memory(SMOLLM, config, held, device="cpu", dtype_bytes=4).weights
    assert with_copy == 4 * (134_515_008 + adapted)
    dropout = config.model_copy(update={"lora_dropout": 0.1})
    assert estimate_memory(SMOLLM, dropout, held, device="cpu", dtype_bytes=4).weights == 4 * 134_515_008
    assert estimate_memory(SMOLLM, config, held, device="cuda", dtype_bytes=4).weights == 4 * 134_515_008


@given(st.integers(1, 4000), st.integers(1, 4000), st.booleans())
def test_more_tokens_and_less_recomputation_need_more(tokens: int, more: int, checkpointing: bool) -> None:
    config = TrainingConfig(gradient_checkpointing=checkpointing)

    def total(count: int, settings: TrainingConfig = config) -> int:
        held = Held(count, count, count * 10, count // 2)
        return estimate_memory(SMOLLM, settings, held, device="cpu", dtype_bytes=4).total

    assert total(tokens + more) > total(tokens)
    assert total(tokens, TrainingConfig(gradient_checkpointing=True)) < total(tokens, TrainingConfig())


def test_the_worst_moment_holds_the_trunk_and_its_largest_branch() -> None:
    trunk = list(range(100))
    branches = [example([*trunk, *range(1000 * k, 1000 * k + length)], 5) for k, length in ((1, 60), (2, 90))]
    tree = build_tree(branches)
    assert [len(segment.ids) for segment in tree.segments] == [100, 59, 89]
    whole = held_by_tree(tree, 1000, None)
    assert (whole.tokens, whole.trunk_tokens) == (248, 0)
    cut = held_by_tree(tree, 110, None)
    assert (cut.tokens, cut.trunk_tokens) == (189, 100)
    assert cut.scores == 100 * 100 + 89 * 189
    recomputed = held_by_tree(tree, 110, 50)
    assert recomputed.tokens == 100
    assert held_by_padding([3, 5], 4) == Held(10, 10, 50, 4)


def test_workers_hold_their_largest_passes_at_the_same_time() -> None:
    trunk = list(range(100))
    lengths = {1: 60, 2: 90, 3: 70}
    tree = build_tree([example([*trunk, *range(1000 * k, 1000 * k + n)], 5) for k, n in lengths.items()])
    assert [len(segment.ids) for segment in tree.segments] == [100, 59, 89, 69]
    two = held_by_tree(tree, 110, None, 2)
    assert (two.tokens, two.trunk_tokens, two.num_workers) == (100 + 89 + 69, 100, 2)
    assert two.scores == 100 * 100 + 89 * 189 + 69 * 169
    assert two.supervised == tree.segments[0].target.size + 5 + 5
    assert held_by_tree(tree, 1000, None, 2) == held_by_tree(tree, 1000, None)  # one pass: nothing to share out
    config = TrainingConfig()
    alone = Held(258, two.keys, two.scores, 10, 100)
    memory = {
        n: estimate_memory(SMOLLM, config, replace(alone, num_workers=n), device="cpu", dtype_bytes=4) for n in (1, 2)
    }
    assert memory[2].logits - memory[1].logits == 3 * 48 * 2**20
    assert memory[2].adapter == 3 * memory[1].adapter


def test_a_plan_has_workers_where_the_engine_has() -> None:
    config = TrainingConfig(device="cpu", num_threads=2)
    assert plan_workers(config, 1024) == 2
    for changed in ({"num_threads": 1}, {"lora_dropout": 0.1}, {"gradient_checkpointing": True}, {"dtype": "bfloat16"}):
        assert plan_workers(config.model_copy(update=changed), 1024) == 1
    assert plan_workers(config, 255) == 1
    assert plan_workers(TrainingConfig(platform="h100", num_threads=16), 16384) == 1


@pytest.mark.parametrize(
    ("name", "device_gb", "limit_gb"),
    [("h100", None, 70), ("h100", 79.65, 69.69), ("h100", 40, 35), ("m4", None, 28), ("m4", 32, 28), ("m4", 16, 14)],
)
def test_limits_are_the_platform_s_or_those_of_a_smaller_device(
    name: str, device_gb: float | None, limit_gb: float
) -> None:
    device_bytes = None if device_gb is None else int(device_gb * GIB)
    assert memory_limit(shipped(name), device_bytes) / GIB == pytest.approx(limit_gb, abs=0.01)


def test_the_demo_may_use_this_machine_s_memory() -> None:
    assert memory_limit(shipped("demo")) > GIB


@pytest.mark.parametrize("name", ["h100", "m4", "demo"])
def test_shipped_configurations_fit(name: str) -> None:
    config = shipped(name)
    limit = memory_limit(config, 8 * GIB if name == "demo" else None)
    assert run_memory(config, limit).total < limit
    assert chunk_tokens(config, MISTRAL, limit) % 128 == 0


def test_a_plan_counts_the_real_data_and_its_sharing() -> None:
    config = shipped("demo", "max_train_examples=null")
    examples, num_dropped, assumed, changed = read_examples(config)
    plan = make_plan(config)
    assert plan.num_tokens == sum(len(one.ids) for one in examples)
    assert plan.num_supervised_tokens == sum(int(one.mask.sum()) for one in examples)
    told = ["18 × tool results' numbers and characters spelled anew"]
    assert (plan.num_dropped, assumed, changed, plan.tokens_are) == (num_dropped, [], told, "counted")
    assert plan.num_steps == 60
    assert (plan.sharing, plan.share_factor) == decide_sharing(examples, config.effective_batch_size, config.seed)
    assert plan.num_computed_tokens < plan.num_tokens * plan.num_epochs
    padded = make_plan(shipped("demo", "max_train_examples=null", "sharing=off"))
    assert padded.num_computed_tokens >= plan.num_tokens * plan.num_epochs
    assert not padded.sharing


def test_a_tokenizer_that_is_not_there_is_said_and_estimated() -> None:
    plan = make_plan(shipped("h100"))
    assert plan.tokens_are == "estimated"
    assert "the tokenizer of mistralai/Mistral-7B-Instruct-v0.3 is not on this machine" in plan.assumptions[0]
    assert any("about" in line and "(estimated)" in line for line in plan_lines(plan))


def test_what_is_changed_or_dropped_to_be_read_is_said_before_the_run(tmp_path: Path) -> None:
    call = {"id": "abcdefghi", "type": "function", "function": {"name": "get_tide", "arguments": "{}"}}
    said = [
        {"role": "user", "content": "High water?"},
        {"role": "assistant", "content": "Let me look.", "tool_calls": [call]},
        {"role": "user", "content": "Thanks!"},
    ]
    tool = {"type": "function", "function": {"name": "get_tide", "parameters": {"type": "object"}}}
    (tmp_path / "train.jsonl").write_text(json.dumps({"messages": said, "tools": [tool]}) + "\n")
    with pytest.raises(WeathermanError, match="cannot hold text and tool calls"):
        make_plan(shipped("h100"))
    (told,) = (one for one in make_plan(shipped("h100", "text_beside_calls=drop")).assumptions if "changed" in one)
    assert "1 × texts beside calls dropped" in told
    assert "1 × turns after the last answer trimmed" in told
    (own,) = (one for one in make_plan(shipped("demo", "personas=[]")).assumptions if "changed" in one)
    assert "beside calls" not in own


def test_rough_tokens_are_within_a_tenth_of_mistral_s() -> None:
    from tokenizers_for_tests import mistral

    rows = [json.loads(line) for line in Path("train.jsonl").read_text().splitlines()]
    texts = [message["content"] for row in rows for message in row["messages"] if message.get("content")]
    true = sum(map(len, mistral().encode(texts)))
    assert sum(map(len, RoughTokenizer().encode(texts))) == pytest.approx(true, rel=0.1)


def test_time_is_four_flops_a_parameter_and_token() -> None:
    config = shipped("h100")
    (low, high), (words,) = estimate_time(config, MISTRAL, 1_000_000)
    flops = 4 * MISTRAL.num_computing_parameters * 1e6
    assert low == pytest.approx(flops / (989e12 * 0.45))
    assert high == pytest.approx(flops / (989e12 * 0.25))
    assert "989 TFLOP/s on paper" in words
    assert run_device(config) == "cuda"


def test_conversations_and_examples_are_both_told_and_why_they_differ() -> None:
    plan = make_plan(shipped("demo", "max_train_examples=null", "chat_template=smollm2"))
    num_rows = len({one.source for one in read_examples(shipped("demo", "max_train_examples=null"))[0]})
    assert plan.num_conversations == num_rows <= plan.num_examples
    assert describe_examples(3, 3) == "3 conversations, each an example"
    more = describe_examples(14_399, 16_702)
    assert more.startswith("14,399 conversations, 16,702 examples (one for each context in which ")


def test_the_check_of_a_configuration_and_its_plan_agree_on_the_memory() -> None:
    for rehearse in (False, True):
        target = Target("h100", ROOT / "configs/training_config_h100.yaml", DATA, rehearse, probe=TableProbe())
        config = load_config(target.config_path, DATA)
        made = make_plan(planned(target, config), device_bytes=device_bytes(target))
        finding = check_memory(target, config)
        assert f"{made.memory.total / GIB:.1f} GB of memory estimated at its peak" in finding.message
        assert f"{made.memory_limit_bytes / GIB:.0f} GB may be used" in finding.message


def test_the_memory_counts_the_run_s_steps_in_conversations(monkeypatch: pytest.MonkeyPatch) -> None:
    views = [replace(example([1, 2, 3, number], 1), source="a.jsonl:1") for number in range(4)]
    told: list[int] = []

    def steps_memory(config: TrainingConfig, examples: object, num_steps: int, *_: object) -> tuple[None, float]:
        told.append(num_steps)
        return None, 1.0

    monkeypatch.setattr(plan_module, "read_examples", lambda _: (views, 0, [], []))
    monkeypatch.setattr(plan_module, "_steps_memory", steps_memory)
    one_by_one = ("per_device_train_batch_size=1", "gradient_accumulation_steps=1", "num_train_epochs=1")
    run_memory(shipped("h100", *one_by_one), GIB)
    assert told == [1]


def test_the_memory_of_data_that_is_not_there_cannot_be_known() -> None:
    target = Target("cpu", ROOT / "configs/training_config_demo.yaml", ("train_file=nowhere.jsonl",))
    finding = check_memory(target, load_config(target.config_path, target.overrides))
    assert (finding.code, finding.verdict) == ("config.memory", "unknown")


def test_money_is_rate_times_hours() -> None:
    plan = make_plan(shipped("h100", "hourly_rate=2.5"))
    assert plan.cost is not None
    assert plan.cost[1] == pytest.approx(2.5 * plan.time_s[1] / 3600)
    low, high = (time_s / 3600 for time_s in plan.time_s)
    money = f"Money: ${2.5 * low:.2f} = $2.50 an hour x {low:.2f} hours to "
    assert money + f"${2.5 * high:.2f} = $2.50 an hour x {high:.2f} hours" in plan_lines(plan)
    assert make_plan(shipped("demo")).cost is None


LARGE = ("sharing=on", "gradient_checkpointing=false", "per_device_train_batch_size=32", "max_tokens_per_chunk=99999")


@pytest.mark.parametrize(
    ("name", "overrides", "words"),
    [
        ("m4", ("dtype=float32",), "its weights alone are 27.0 GB"),
        ("h100", LARGE, "lower max_tokens_per_chunk"),
        ("h100", (*LARGE, "sharing=off"), "per_device_train_batch_size"),
    ],
)
def test_what_cannot_fit_is_refused(
    name: str, overrides: tuple[str, ...], words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    plan = make_plan(shipped(name, *overrides))
    assert not plan.fits
    assert report_plan(plan) == 1
    text = capsys.readouterr().out
    assert_grammar(text)
    assert text.splitlines()[-1].startswith("❌ ERROR: It cannot fit: ")
    assert words in text.splitlines()[-1]
    assert report_plan(plan, as_json=True) == 1
    assert json.loads(capsys.readouterr().out)["fits"] is False


def command(*arguments: str) -> subprocess.CompletedProcess[str]:
    full = [sys.executable, "-m", "weatherman.cli", "plan", *arguments]
    return subprocess.run(full, capture_output=True, text=True, check=False)


def test_the_command_speaks_lines_and_json() -> None:
    config = ["--config", str(ROOT / "configs/training_config_m4.yaml")]
    overrides = [word for override in DATA for word in ("--set", override)]
    shown = command(*config, *overrides)
    assert shown.returncode == 0, shown.stdout
    assert_grammar(shown.stdout)
    assert "at its peak, of 28 GB" in shown.stdout
    record = json.loads(command(*config, *overrides, "--json").stdout)
    parts = [value for name, value in record["memory"].items() if name != "total"]
    assert record["memory"]["total"] == sum(parts)
    assert record["fits"] is True
    assert record["time_s"][0] < record["time_s"][1]
    missing = command(*config, "--set", "train_file=no.jsonl")
    assert missing.returncode == 1
    assert missing.stdout.startswith("❌ ERROR: ")


CASES = {
    "one pass": {"prefix": 100, "examples": 3, "tail": 150, "config": {"sharing": "on"}},
    "trunk": {"prefix": 450, "examples": 3, "tail": 250, "config": {"sharing": "on"}},
    "small chunks": {"prefix": 100, "examples": 4, "tail": 175, "config": {"sharing": "on", "max_tokens_per_chunk": 512}},
    "dropout": {
        "prefix": 300, "examples": 4, "tail": 200,
        "config": {"sharing": "on", "max_tokens_per_chunk": 512, "lora_dropout": 0.05},
    },
    "workers": {"prefix": 400, "examples": 6, "tail": 250, "config": {"sharing": "on", "num_threads": 2}},
    "workers at the root": {"prefix": 8, "examples": 4, "tail": 400, "config": {"sharing": "on", "num_threads": 2}},
    "padded": {"prefix": 200, "examples": 2, "tail": 200, "config": {"sharing": "off", "per_device_train_batch_size": 2}},
    "recomputed": {
        "prefix": 300, "examples": 3, "tail": 150, "config": {"sharing": "on", "gradient_checkpointing": True},
    },
}  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize("name", CASES)
def test_estimated_memory_is_within_a_fifth_of_the_measured_peak(name: str) -> None:
    command = [sys.executable, "-W", "ignore", str(ROOT / "tests/support/measure_memory.py"), json.dumps(CASES[name])]
    done = subprocess.run(command, capture_output=True, text=True, check=True, cwd=ROOT)
    found = json.loads(done.stdout.splitlines()[-1])
    assert found["estimated_bytes"] == pytest.approx(found["measured_bytes"], rel=0.2), found


def test_memory_is_judged_by_the_longest_examples_whatever_steps_are_sampled() -> None:
    settings = ("max_train_examples=null", "sharing=off")
    short = make_plan(shipped("demo", *settings, "max_steps=1"))
    longest = max(len(one.ids) for one in read_examples(shipped("demo", *settings))[0])
    config = shipped("demo", *settings)
    held = held_by_padding([longest] * config.per_device_train_batch_size, 0)
    assert short.memory.activations == estimate_memory(SMOLLM, config, held, device="cpu", dtype_bytes=4).activations
