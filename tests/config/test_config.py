from __future__ import annotations

import datetime
import json
import math
import os
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from weatherman.config.reference import config_reference
from weatherman.config.schema import MODULES, TrainingConfig, load_config, recommendations, resolved
from weatherman.config.yaml_reader import parse_value, read_yaml
from weatherman.errors import Problems, WeathermanError

ROOT = Path(__file__).parents[2]
NOW = datetime.datetime(2026, 3, 4, 5, 6, 7)
MANY = settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


def write(folder: Path, text: str | bytes) -> Path:
    path = folder / "c.yaml"
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    return path


def problems_of(folder: Path, text: str, *overrides: str) -> list[str]:
    path = write(folder, text)
    with pytest.raises(Problems) as caught:
        load_config(path, overrides, now=NOW)
    return [problem.message.replace(str(path), "c.yaml") for problem in caught.value.problems]


def error_of(path: Path) -> WeathermanError:
    with pytest.raises(WeathermanError) as caught:
        load_config(path)
    assert not isinstance(caught.value, Problems)
    return caught.value


# The shipped configurations


@pytest.mark.parametrize("platform", ["h100", "m4", "demo"])
def test_shipped_configurations_load_and_say_how_they_are_run(platform):
    path = ROOT / "configs" / f"training_config_{platform}.yaml"
    config = load_config(path, now=NOW)
    assert config.platform == platform
    assert f"weatherman train --config configs/{path.name}" in path.read_text(encoding="utf-8").split("\n\n")[0]
    assert config.run_name == f"weatherman-lora-{platform}-20260304"
    assert config.output_dir == f"runs/{platform}"
    assert (config.lora_r, config.lora_alpha, config.target_modules) == (16, 32, MODULES)
    assert recommendations(config) == []


def test_every_configuration_file_is_a_shipped_one():
    assert len(list((ROOT / "configs").iterdir())) == 4


def test_h100_and_m4_are_the_same_training_at_two_batch_sizes():
    h100, m4 = (load_config(ROOT / "configs" / f"training_config_{name}.yaml", now=NOW) for name in ("h100", "m4"))
    for config in (h100, m4):
        assert config.model_name_or_path == "mistralai/Mistral-7B-Instruct-v0.3"
        assert (config.dtype, config.lora_dropout, config.num_train_epochs) == ("bfloat16", 0.05, 3)
        assert (config.learning_rate, config.lr_scheduler_type, config.warmup_ratio) == (2e-4, "cosine", 0.03)
        assert (config.max_grad_norm, config.report_to, config.gradient_checkpointing) == (1.0, "wandb", True)
        assert config.train_file == "data/processed/train.jsonl"
        assert config.validation_file == "data/processed/validation.jsonl"
    assert (h100.effective_batch_size, h100.save_steps, h100.max_seq_length, h100.device) == (16, 500, 4096, "cuda")
    assert (m4.effective_batch_size, m4.save_steps, m4.device, m4.attn_implementation) == (8, 250, "mps", "auto")


def test_the_small_macs_run_is_the_large_ones_on_a_base_in_4_bits():
    large, small = (load_config(ROOT / "configs" / f"training_config_{n}.yaml", now=NOW) for n in ("m4", "m4_16gb"))
    changed = {key for key, value in small.model_dump().items() if value != getattr(large, key)}
    assert changed == {"engine", "quantization", "device", "max_tokens_per_chunk", "output_dir", "run_name"}
    assert (small.engine, small.quantization, small.dtype) == ("mlx", "4bit", "bfloat16")
    path = ROOT / "configs" / "training_config_m4_16gb.yaml"
    assert f"weatherman train --config configs/{path.name}" in path.read_text(encoding="utf-8").split("\n\n")[0]
    assert recommendations(small) == []


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ("engine: torch\nquantization: 4bit\n", "4bit needs engine: mlx, and engine is torch"),
        ("engine: mlx\nquantization: nf4\n", "nf4 needs engine: torch, and engine is mlx"),
        ("engine: mlx\nattn_implementation: flex\n", "flex needs CUDA and engine is mlx"),
    ],
)
def test_what_does_not_go_with_an_engine_is_refused(tmp_path, values, words):
    assert any(words in problem for problem in problems_of(tmp_path, values))


def test_demo_trains_on_each_example_once():
    demo = load_config(ROOT / "configs" / "training_config_demo.yaml")
    assert demo.max_steps is not None
    assert demo.max_steps * demo.effective_batch_size == demo.max_train_examples == 360
    assert (demo.model_name_or_path, demo.dtype, demo.report_to) == ("smollm2-135m-instruct", "float32", "none")
    assert demo.max_steps >= 60
    assert (demo.sample_prompts, demo.num_tool_eval_prompts) == ([], 20)
    assert demo.personas == ["satire"]


# Values


def test_an_override_wins_and_the_rest_are_defaults(tmp_path):
    path = write(tmp_path, "seed: 1\nlora_r: 8\n")
    config = load_config(path, ["seed=2", "max_steps=5", "seed=3", "max_eval_examples="])
    assert config == TrainingConfig(seed=3, lora_r=8, max_steps=5)


def test_an_override_mends_a_wrong_value_of_the_file(tmp_path):
    assert load_config(write(tmp_path, "lora_r: 400\n"), ["lora_r=16"]).lora_r == 16


@pytest.mark.parametrize("text", ["2e-4", "2E-4", "2.e-4", "+.0002", "0.0002", "2e-04"])
def test_numbers_in_every_notation(tmp_path, text):
    rate = load_config(write(tmp_path, f"learning_rate: {text}\n")).learning_rate
    assert rate == 2e-4
    assert isinstance(rate, float)


def test_a_whole_number_is_a_number(tmp_path):
    found = load_config(write(tmp_path, "max_grad_norm: 2\n")).max_grad_norm
    assert (found, type(found)) == (2.0, float)


def test_off_is_a_word(tmp_path):
    assert load_config(write(tmp_path, "sharing: off\n"), ["report_to=none"]).sharing == "off"
    assert load_config(write(tmp_path, "run_name: 2026-01-01\n")).run_name == "2026-01-01"


def test_lists_in_overrides(tmp_path):
    config = load_config(write(tmp_path, "seed: 1"), ["target_modules=[q_proj, k_proj, v_proj, o_proj]"])
    assert config.target_modules == ["q_proj", "k_proj", "v_proj", "o_proj"]


def test_a_configuration_cannot_be_changed():
    config = TrainingConfig()
    with pytest.raises(ValidationError):
        config.seed = 1
    config.target_modules.clear()
    assert TrainingConfig().target_modules == MODULES


def test_resolved_survives_json():
    config = load_config(ROOT / "configs" / "training_config_demo.yaml")
    assert TrainingConfig.model_validate(json.loads(json.dumps(resolved(config)))) == config
    assert set(resolved(config)) == set(TrainingConfig.model_fields)


# Problems


def test_all_problems_at_once_in_the_order_of_the_file(tmp_path):
    text = (
        "lerning_rate: 1\nlora_r: 128\n\nlora_r: 8\nreport_to: wanbd\ntarget_modules: [q_proj, k_prj, v_proj, o_proj]\n"
    )
    assert problems_of(tmp_path, text, "save_total_limit=1", "nonsense", "max_stps=3") == [
        "c.yaml:1 lerning_rate: unknown key, did you mean learning_rate?",
        "c.yaml:2 lora_r: 128 is not allowed; allowed: a whole number from 8 to 64.",
        "c.yaml:4 lora_r: given twice (first on line 2).",
        'c.yaml:5 report_to: "wanbd" is not allowed, did you mean wandb? allowed: one of none, wandb, trackio.',
        'c.yaml:6 target_modules: "k_prj" is not allowed, did you mean k_proj? '
        "allowed: a list of 4 to 7 of q_proj, k_proj, v_proj, o_proj, gate_proj, up_proj, down_proj.",
        "--set save_total_limit=1 is not allowed; allowed: a whole number from 2 to 1000.",
        "--set nonsense: expected key=value.",
        "--set max_stps=3: unknown key, did you mean max_steps?",
    ]


def test_the_summary_counts_and_names_the_file(tmp_path):
    path = write(tmp_path, "a: 1\nb: 2\n")
    with pytest.raises(Problems) as caught:
        load_config(path)
    assert (caught.value.code, caught.value.exit_code) == ("config.invalid", 1)
    assert caught.value.message == f"{path}: 2 problems; nothing was started."


@pytest.mark.parametrize(
    ("line", "allowed"),
    [
        ("lora_r: true", "a whole number from 8 to 64"),
        ("lora_r: 7", "a whole number from 8 to 64"),
        ("lora_r: 16.0", "a whole number from 8 to 64"),
        ("lora_r: '16'", "a whole number from 8 to 64"),
        ("lora_r:", "a whole number from 8 to 64"),
        ("lora_r: {a: 1}", "a whole number from 8 to 64"),
        ("max_steps: 010", "a whole number of at least 1 or null"),
        ("max_steps: " + "9" * 5000, "a whole number of at least 1 or null"),
        ("lora_dropout: 0.21", "a number from 0 to 0.2"),
        ("lora_dropout: -0.1", "a number from 0 to 0.2"),
        ("lora_dropout: false", "a number from 0 to 0.2"),
        ("learning_rate: 1", "a number above 0 and below 1"),
        ("learning_rate: 0", "a number above 0 and below 1"),
        ("learning_rate: .nan", "a number above 0 and below 1"),
        ("max_grad_norm: .inf", "a number above 0"),
        ("max_grad_norm: 1e999", "a number above 0"),
        ("warmup_ratio: 1.1", "a number from 0 to 1"),
        ("save_total_limit: 1", "a whole number from 2 to 1000"),
        ("max_seq_length: 63", "a whole number from 64 to 131072"),
        ("max_seq_length: 131073", "a whole number from 64 to 131072"),
        ("max_train_examples: 0", "a whole number of at least 1 or null"),
        ("max_eval_examples: -1", "a whole number of at least 1 or null"),
        ("gradient_accumulation_steps: 0", "a whole number from 1 to 4096"),
        ("per_device_train_batch_size: 0", "a whole number from 1 to 4096"),
        ("seed: -1", "a whole number from 0 to 4294967295"),
        ("gradient_checkpointing: yes", "true or false"),
        ("gradient_checkpointing: 1", "true or false"),
        ("run_name: ''", "one line of text, at most 128 characters"),
        ('output_dir: "a\\nb"', "one line of text, at most 1,024 characters"),
        ('output_dir: "a\\0"', "one line of text, at most 1,024 characters"),
        ("project_name: a/b", "letters, digits, dots, dashes and underscores, at most 128 characters"),
        ("sample_prompts: [' ']", "a list of at most 20 items, each text, at most 4,096 characters"),
        ("device: 3", "one of auto, cpu, mps, cuda"),
        ("adam_beta2: 1", "a number of at least 0 and below 1"),
        ("adam_epsilon: 1", "a number above 0 and up to 0.01"),
    ],
)
def test_impossible_values(tmp_path, line, allowed):
    found = problems_of(tmp_path, f"platform: demo\n{line}\n")
    assert len(found) == 1
    assert found[0].startswith(f"c.yaml:2 {line.partition(':')[0]}: ")
    assert found[0].endswith(f" is not allowed; allowed: {allowed}.")
    assert len(found[0]) < 300


def test_target_modules_are_four_different_ones(tmp_path):
    three = problems_of(tmp_path, "target_modules: [q_proj, k_proj, v_proj]")
    assert "a list of 4 to 7 of q_proj" in three[0]
    twice = problems_of(tmp_path, "target_modules: [q_proj, k_proj, v_proj, q_proj]")
    assert "(q_proj given more than once)" in twice[0]


def test_personas_are_names_given_once(tmp_path):
    assert load_config(write(tmp_path, "personas: [satire, my-own]\n")).personas == ["satire", "my-own"]
    assert "(satire given more than once)" in problems_of(tmp_path, "personas: [satire, satire]")[0]
    assert "personas" in problems_of(tmp_path, "personas: satire")[0]
    assert "personas" in problems_of(tmp_path, "personas: ['']")[0]


def test_a_cuda_kernel_needs_cuda(tmp_path):
    found = problems_of(tmp_path, "device: mps\nattn_implementation: flash\nlora_r: 1\n")
    assert "c.yaml:2 attn_implementation: " in found[0]
    assert "(flash needs CUDA and device is mps)" in found[0]
    assert len(found) == 2
    assert load_config(write(tmp_path, "attn_implementation: flash")).attn_implementation == "flash"


def test_bfloat16_on_a_mac_is_allowed(tmp_path):
    assert load_config(write(tmp_path, "platform: m4\ndevice: mps\ndtype: bfloat16")).dtype == "bfloat16"


def test_recommendations_are_no_problems():
    config = TrainingConfig(lora_alpha=16, warmup_ratio=0.5, train_file="a", validation_file="a")
    found = recommendations(config)
    assert [text.split()[0] for text in found] == ["lora_alpha", "warmup_ratio", "validation_file"]
    assert "2 x lora_r = 32" in found[0]


# Files that are no configuration


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("", "config.empty"),
        ("# only a comment\n", "config.empty"),
        ("- a\n- b\n", "config.not-mapping"),
        ("text", "config.not-mapping"),
        ("!!python/object/apply:os.system ['true']", "config.not-mapping"),
        ("a: 1\n\tb: 2\n", "config.tab"),
        ("a: 1\nb:\t2\n", "config.tab"),
        ("a: [1\n", "config.syntax"),
        ("a: 1\n---\nb: 2\n", "config.syntax"),
        ("a: *nowhere_closed]", "config.syntax"),
        ('a: "\\U00110000"', "config.syntax"),
        ("[" * 20_000, "config.too-deep"),
        (b"\xff\xfe\x00", "config.not-text"),
        (b"a: \x00", "config.not-text"),
        (b"\x89PNG\r\n\x1a\n", "config.not-text"),
        ("#" * 100_001, "config.too-large"),
    ],
)
def test_files_that_are_no_configuration(tmp_path, text, code):
    path = write(tmp_path, text)
    problem = error_of(path)
    assert problem.code == code
    assert str(path) in problem.message


def test_mapping_without_a_key_is_all_defaults(tmp_path):
    assert load_config(write(tmp_path, "{}\n")).model_dump() == TrainingConfig().model_dump()


def test_syntax_errors_name_their_line(tmp_path):
    path = write(tmp_path, "a: 1\n\n\tb: 2\n")
    assert error_of(path).message == f"{path}:3: a tab; YAML is laid out with spaces."
    path = write(tmp_path, "a: 1\nb: }\n")
    assert error_of(path).message.startswith(f"{path}:2: not valid YAML at column 4: ")


def test_missing_file_and_folder(tmp_path):
    assert error_of(tmp_path / "none.yaml").code == "config.missing"
    assert error_of(tmp_path).code == "config.is-folder"
    assert error_of(write(tmp_path, "seed: 1") / "x").code == "config.unreadable"


def test_an_endless_file_is_not_read_to_its_end():
    assert error_of(Path("/dev/zero")).code == "config.too-large"


def test_keys_are_text(tmp_path):
    found = problems_of(tmp_path, "1: a\ntrue: b\n? [c]\n: d\n")
    assert [text.split(" is not")[0] for text in found] == [
        "c.yaml:1: the key 1", "c.yaml:2: the key True", "c.yaml:3: the key ['c']",
    ]  # fmt: skip


# Nothing is executed


def test_tags_anchors_and_aliases_are_refused_each_with_its_line(tmp_path):
    marker = tmp_path / "marker"
    text = (
        f"seed: !!python/object/apply:os.system ['touch {marker}']\nrun_name: &a x\nproject_name: *a\n"
        "lora_r: !!int '16'\nmodel_revision: ! y\nsample_prompts: [ok, !x z]\nlora_alpha: 0\n"
    )
    found = problems_of(tmp_path, text)
    assert [problem.partition(". ")[0] for problem in found] == [
        "c.yaml:1: the tag !!python/object/apply:os.system is not allowed.",
        "c.yaml:2: the anchor &a is not allowed.",
        "c.yaml:3: the alias *a is not allowed.",
        "c.yaml:4: the tag !!int is not allowed.",
        "c.yaml:5: the tag ! is not allowed.",
        "c.yaml:6: the tag !x is not allowed.",
        "c.yaml:7 lora_alpha: 0 is not allowed; allowed: a whole number from 1 to 1024.",
    ]
    assert not marker.exists()


def test_a_billion_laughs_are_not_laughed(tmp_path):
    lines = ["a0: &a0 [lol, lol]"] + [f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 9)}]" for i in range(1, 12)]
    found = problems_of(tmp_path, "\n".join(lines))
    assert len(found) == 12 + 9 * 11
    assert all("not allowed" in text for text in found)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a-$(date +%Y%m%d)", "a-20260304"),
        ("$(date +%F)-$(date +%H%M%S)", "2026-03-04-050607"),
        ("$(date +'%Y %j')x", "2026 063x"),
        ('$(date +"%d.%m.%y")', "04.03.26"),
        ("$(date +100%%)", "100%"),
        ("$(date +week)", "week"),
        ("costs $5", "costs $5"),
    ],
)
def test_dates_are_filled_in(tmp_path, text, expected):
    path = tmp_path / "c.yaml"
    path.write_text(yaml.safe_dump({"run_name": text, "output_dir": f"r/{text}"}), encoding="utf-8")
    config = load_config(path, now=NOW)
    assert (config.run_name, config.output_dir) == (expected, f"r/{expected}")
    assert load_config(path, [f"run_name='{expected}'"], now=NOW).run_name == expected


def test_a_date_in_an_override_and_the_present_time(tmp_path):
    before = datetime.date.today()
    found = load_config(write(tmp_path, "seed: 1"), ["run_name=r-$(date +%Y%m%d)"]).run_name
    assert found in {f"r-{day:%Y%m%d}" for day in (before, datetime.date.today())}


SHELL_TEXTS = [
    "$(touch MARKER)", "`touch MARKER`", "${HOME}", "$HOME/x", "~/x", "~root/x", "$(date)", "$(date -u +%Y)",
    "$(date +%Y; touch MARKER)", "$(date +%Y$(touch MARKER))", "$(date +'$(touch MARKER)')", "$(date +`touch MARKER`)",
    "$(date +%Y", "$( date +%Y)", "x $(date +%Y) $(touch MARKER)",
]  # fmt: skip


@pytest.mark.parametrize("key", ["run_name", "output_dir", "train_file", "model_name_or_path", "device", "lora_r"])
@pytest.mark.parametrize("text", SHELL_TEXTS)
def test_nothing_else_is_filled_in_or_executed(tmp_path, monkeypatch, key, text):
    monkeypatch.chdir(tmp_path)
    Path("c.yaml").write_text(yaml.safe_dump({key: text}), encoding="utf-8")
    with pytest.raises(Problems) as caught:
        load_config(Path("c.yaml"))
    [problem] = caught.value.problems
    assert problem.code == "config.executable"
    assert problem.message.startswith((f"c.yaml:1 {key}: '", f'c.yaml:1 {key}: "'))
    assert "nothing is executed; allowed: $(date +FMT)" in problem.message
    assert [path.name for path in tmp_path.iterdir()] == ["c.yaml"]


@pytest.mark.parametrize("part", ["%Q", "%b", "%", "%-d", "%s"])
def test_unknown_date_parts(tmp_path, part):
    found = problems_of(tmp_path, f"run_name: x$(date +{part})\n")
    assert f"'{part[:2]}' is not a known date part; known: %Y %y %m" in found[0]


def test_a_date_belongs_into_two_keys_only(tmp_path):
    found = problems_of(tmp_path, "train_file: $(date +%Y).jsonl\n")
    assert found == [
        "c.yaml:1 train_file: '$(date +%Y)' is not filled in and nothing is executed; "
        "allowed: $(date +FMT) in run_name and output_dir."
    ]


def test_prompts_are_plain_text(tmp_path):
    prompts = ["What does $(date) or `ls` print in ${HOME}?"]
    path = write(tmp_path, f"sample_prompts: {json.dumps(prompts)}")
    assert load_config(path).sample_prompts == prompts


# Any input


@MANY
@given(st.one_of(st.text(), st.text("ab: -[]{}!&*'\"|>%@`\t\n#?,$(~0.e"), st.binary()))
@example("{}")
def test_any_file_is_read_or_refused_in_words(tmp_path, content):
    path = tmp_path / "c.yaml"
    path.write_bytes(content if isinstance(content, bytes) else content.encode("utf-8", "surrogatepass"))
    found = None
    try:
        found = load_config(path, now=NOW)
    except WeathermanError as problem:
        found = problem.message
    assert found


@MANY
@given(st.text())
def test_any_override_is_read_or_refused_in_words(tmp_path, override):
    path = write(tmp_path, "seed: 1\n")
    for text in (override, f"run_name={override}", f"seed={override}", f"{override}=1"):
        try:
            load_config(path, [text], now=NOW)
        except Problems as problem:
            refused = [one.message for one in problem.problems]
        else:
            refused = []
        assert all(message.startswith("--set ") for message in refused)


BMP = st.text(st.characters(max_codepoint=0xFFFF, exclude_categories=("Cs",)))
KEY = BMP.filter(lambda text: len(text) <= 100)  # YAML allows 1,024 characters for a key, escapes included
PLAIN = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.floats(allow_nan=False, allow_infinity=False), BMP),
    lambda inner: st.one_of(st.lists(inner, max_size=4), st.dictionaries(KEY, inner, max_size=4)),
    max_leaves=8,
)


@MANY
@given(st.dictionaries(KEY, PLAIN, min_size=1, max_size=5))
def test_reads_json_as_json_does(tmp_path, values):
    found = read_yaml(write(tmp_path, json.dumps(values)))
    assert (found.values, found.problems) == (values, [])


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("3", 3), ("-3", -3), ("0", 0), ("007", "007"), ("0x10", "0x10"), ("1_000", "1_000"), ("12:30:00", "12:30:00"),
        ("1.5", 1.5), ("1.", 1.0), (".5", 0.5), ("1e3", 1000.0), ("-.inf", -math.inf), (".", "."), ("e3", "e3"),
        ("true", True), ("False", False), ("yes", "yes"), ("on", "on"), ("null", None), ("~", None), ("", None),
        ("'3'", "3"), ('"~"', "~"), ("''", ""), ("[1, a, [b]]", [1, "a", ["b"]]), ("{a: 1, 2: b}", {"a": 1, "2": "b"}),
        ("<<", "<<"), ("a b # c", "a b"),
    ],
)  # fmt: skip
def test_plain_values(text, value):
    found = parse_value(text)
    assert (found, type(found)) == (value, type(value))


# The reference, and the cost of an import


def test_the_reference_is_the_schemas():
    text = (ROOT / "docs" / "CONFIG.md").read_text(encoding="utf-8")
    assert text == config_reference(), "write it again: weatherman.config.reference.config_reference() is the page"


def test_the_reference_names_every_key_with_default_limits_and_meaning():
    rows = [line for line in config_reference().splitlines() if line.startswith("| `")]
    assert [row.split("`")[1] for row in rows] == list(TrainingConfig.model_fields)
    assert "| `lora_r` | `16` | a whole number from 8 to 64 | LoRA's rank. |" in rows
    assert all(field.description for field in TrainingConfig.model_fields.values())


def test_config_imports_no_heavy_library():
    code = "import sys, weatherman.config.schema; print(sorted({'torch', 'transformers', 'numpy', 'typer'} & set(sys.modules)))"
    environment = {**os.environ, "PYTHONPATH": str(ROOT / "src")}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_a_tag_in_an_override_is_refused(tmp_path):
    found = problems_of(tmp_path, "seed: 1", "seed=!!python/name:os.system", "run_name=&a b")
    assert found == [
        "--set seed=!!python/name:os.system: the tag !!python/name:os.system is not allowed.",
        "--set run_name=&a b: the anchor &a is not allowed.",
    ]
