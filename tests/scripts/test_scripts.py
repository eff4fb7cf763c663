"""scripts/*.py as a user or another script runs them: before anything is installed, from anywhere, one line a finding."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from machines import ROOT, assert_grammar, path_with

SCRIPTS = ROOT / "scripts"
CHECKS = (
    "validate_environment",
    "validate_training_config",
    "check_gpu",
    "check_storage",
    "check_accounts",
    "check_mac",
)


def run(
    script: str, *arguments: str, bare: bool = False, stub: str = "conda", cwd: Path = ROOT, **environ: str
) -> subprocess.CompletedProcess[str]:
    """Run a script; `bare` hides all installed packages from it."""
    base = {"PATH": path_with(stub), "HOME": os.environ["HOME"], "HF_ENDPOINT": "http://127.0.0.1:9"}
    return subprocess.run(
        [sys.executable, *(["-S"] if bare else []), str(SCRIPTS / f"{script}.py"), *arguments],
        cwd=cwd, env={**base, **environ}, capture_output=True, text=True, timeout=600, check=False,
    )  # fmt: skip


@pytest.mark.parametrize("script", CHECKS)
def test_each_explains_itself_and_refuses_odd_options_with_exit_1(script: str) -> None:
    assert "Example: python" in run(script, "--help").stdout
    odd = run(script, "--no-such-option\n✅ SUCCESS: forged")
    assert odd.returncode == 1
    assert_grammar(odd.stdout)
    assert odd.stdout.startswith("❌ ERROR: ")


@pytest.mark.parametrize("script", CHECKS)
def test_each_works_before_anything_is_installed(script: str) -> None:
    done = run(script, "--env=h100", bare=True)
    assert done.stderr == ""
    assert_grammar(done.stdout)
    assert done.stdout.startswith("[PREFLIGHT] Checking ")


@pytest.mark.parametrize("script", CHECKS)
def test_each_speaks_json_alone(script: str) -> None:
    done = run(script, "--env=cpu", "--json", bare=True)
    record = json.loads(done.stdout)
    assert set(record) == {"verdict", "counts", "findings"}
    assert done.returncode == (1 if record["verdict"] == "fail" else 0)
    assert all(set(finding) == {"code", "verdict", "message", "fix"} for finding in record["findings"])


def test_an_old_python_is_told_in_one_line(tmp_path: Path) -> None:
    text = (SCRIPTS / "_start.py").read_text().replace("sys.version_info <", "(3, 9, 6) <")
    (tmp_path / "_start.py").write_text(text.replace("sys.version_info[:3]", "(3, 9, 6)"))
    (tmp_path / "check_storage.py").write_text((SCRIPTS / "check_storage.py").read_text())
    command = [sys.executable, str(tmp_path / "check_storage.py")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert done.stdout == "❌ ERROR: Python 3.9.6 is too old. Hint: use Python 3.10 or newer, for example python3.11\n"


def test_check_gpu_gives_class_and_configuration_of_the_card_that_is_there() -> None:
    done = run("check_gpu", "--json", stub="a100_40gb", bare=True)
    findings = {finding["code"]: finding for finding in json.loads(done.stdout)["findings"]}
    assert "NVIDIA A100-SXM4-40GB: 40 GB of GPU memory (ADEQUATE)" in findings["gpu.memory"]["message"]
    assert "configs/training_config_h100.yaml" in findings["gpu.memory"]["fix"]
    assert findings["cuda.compute"]["verdict"] == "unknown"
    assert done.returncode == 0


@pytest.mark.parametrize("stub", ["no_gpu", "old_driver", "conda"])
def test_check_gpu_fails_without_a_gpu_that_can(stub: str) -> None:
    assert run("check_gpu", stub=stub, bare=True).returncode == 1
    assert run("check_gpu", "--rehearse", stub=stub, bare=True).returncode == 0


def test_configurations_are_judged_by_their_own_platform() -> None:
    done = run("validate_training_config", "--config", "configs/training_config_demo.yaml")
    assert done.returncode == 0, done.stdout
    assert done.stdout.splitlines()[0] == "[PREFLIGHT] Checking the configuration (cpu)"
    assert "GB of memory estimated at its peak" in done.stdout


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("lora_r: 4\nlora_dropout: 0.5\ntarget_modules: [q_proj]\n", ["lora_r", "lora_dropout", "target_modules"]),
        ("lora_rank: 8\n", ["lora_rank"]),
        ("lora_r: [\n", ["1"]),
    ],
)
def test_every_problem_of_a_configuration_is_a_finding(text: str, words: list[str], tmp_path: Path) -> None:
    path = tmp_path / "a b.yaml"
    path.write_text(text)
    done = run("validate_training_config", "--config", str(path))
    assert done.returncode == 1
    assert_grammar(done.stdout)
    errors = [line for line in done.stdout.splitlines() if line.startswith("❌ ERROR: ")]
    for word in words:
        assert any(word in line for line in errors), done.stdout


def test_what_does_not_fit_is_refused_before_it_starts() -> None:
    done = run(
        "validate_training_config", "--config", "configs/training_config_m4.yaml", "--json",
        "--set", "train_file=data/synthetic/final_train.jsonl", "--set", "max_tokens_per_chunk=60000",
        "--set", "gradient_checkpointing=false", "--set", "gradient_accumulation_steps=64",
        "--set", "validation_file=data/synthetic/final_validation.jsonl",
    )  # fmt: skip
    assert done.returncode == 1
    (failed,) = [finding for finding in json.loads(done.stdout)["findings"] if finding["verdict"] == "fail"]
    assert failed["code"] == "config.memory"
    assert "max_tokens_per_chunk" in failed["fix"]


def test_a_16_gb_mac_is_refused_the_7b_model() -> None:
    done = run("validate_training_config", "--env=m4", "--config=configs/training_config_m4.yaml", stub="m4_16gb")
    assert "❌ ERROR: the base model does not fit" in done.stdout
    assert "14 GB may be used" in done.stdout


def test_the_names_that_other_scripts_import() -> None:
    code = (
        "import validate_environment as v, check_gpu as g, check_storage as s, validate_training_config as c; "
        "v.print_header('A title'); print(v.print_check(True, 'yes'), v.print_check(False, 'no\\nline')); "
        "[(m.print_check, m.print_header) for m in (g, s, c)]; print(v.validate_h100(), v.validate_m4())"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=SCRIPTS, env={"PATH": path_with("no_gpu")}, capture_output=True, text=True,
        check=False,
    )  # fmt: skip
    lines = done.stdout.splitlines()
    assert lines[:4] == ["[PREFLIGHT] A title", "✅ SUCCESS: yes", "❌ ERROR: no\\nline", "True False"], done.stderr
    assert lines[-1] == "False False"


def test_the_commands_say_the_same_as_the_scripts() -> None:
    base = {"PATH": path_with("no_gpu"), "HOME": os.environ["HOME"], "HF_ENDPOINT": "http://127.0.0.1:9"}

    def command(*arguments: str) -> subprocess.CompletedProcess[str]:
        full = [sys.executable, "-m", "weatherman.cli", *arguments]
        return subprocess.run(full, cwd=ROOT, env=base, capture_output=True, text=True, check=False)

    checked = command("check", "machine", "--env", "h100", "--json")
    script = run("check_gpu", "--json", stub="no_gpu")
    assert checked.stdout == script.stdout
    assert checked.returncode == script.returncode == 1
    doctor = json.loads(command("doctor", "--env", "cpu", "--json").stdout)
    groups = {finding["code"].split(".")[0] for finding in doctor["findings"]}
    assert groups == {"environment", "cpu", "storage", "config", "accounts"}
    assert doctor["verdict"] == "ok"
    odd = command("check", "nothing")
    assert odd.returncode == 1
    assert "choose of: environment, machine" in odd.stdout
