"""The set-up scripts, true files and true bash: in a clone with spaces in its path, called from another folder."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from machines import COMPUTES_MPS, ROOT, Clone, assert_grammar, clone, hub

SCRIPTS = ("setup_runpod_h100.sh", "setup_m4_local.sh")
SHELL_FILES = [*SCRIPTS, "scripts/setup_lines.sh", "scripts/make_h100_env.sh"]


@pytest.fixture
def h100(tmp_path: Path) -> Clone:
    return clone(tmp_path, "h100")


@pytest.fixture
def mac(tmp_path: Path) -> Clone:
    return clone(tmp_path, "m4_32gb", compute=COMPUTES_MPS)


def snapshot(folder: Path) -> dict[str, tuple[int, int]]:
    """Every file's inode and time of change, so that a rewrite shows."""
    return {
        str(path.relative_to(folder)): (path.lstat().st_ino, path.lstat().st_mtime_ns)
        for path in folder.rglob("*")
        if "__pycache__" not in path.parts
    }


def test_h100_from_nothing_to_ready_and_again_without_a_change(h100: Clone) -> None:
    with hub(200) as (url, _):
        accounts = {"HF_ENDPOINT": url, "HF_TOKEN": "hf_" + "x" * 20, "WANDB_BASE_URL": url, "WANDB_API_KEY": "k" * 40}
        first = h100.run("setup_runpod_h100.sh", **accounts)
        assert first.returncode == 0, first.stdout + first.stderr
        assert_grammar(first.stdout)
        assert first.stdout.splitlines()[-1] == "✅ SUCCESS: Ready. Next: ./train_h100_runpod.sh"
        assert "k" * 40 not in first.stdout
        assert "x" * 20 not in first.stdout
        env = Path(h100.environ["HOME"]) / ".weatherman/h100"
        assert h100.log == [
            f"venv {env}",
            "pip install --quiet -r requirements-remote.txt",
            "pip install --quiet --no-deps --editable .",
        ]
        assert "No conda, mamba or micromamba here" in first.stdout
        assert (h100.root / ".venv-h100").resolve() == env.resolve()
        assert (h100.root / "data/processed/train.jsonl").readlink() == Path("../synthetic/final_train.jsonl")
        before = snapshot(h100.root) | snapshot(env)
        second = h100.run("setup_runpod_h100.sh", **accounts)
        assert second.returncode == 0
        assert h100.log == []
        assert "is up to date" in second.stdout
        assert snapshot(h100.root) | snapshot(env) == before


def test_the_steps_come_in_their_order(h100: Clone) -> None:
    with hub(200) as (url, _):
        text = h100.run("setup_runpod_h100.sh", HF_ENDPOINT=url).stdout
    sections = [line.partition("] ")[2] for line in text.splitlines() if line.startswith("[SETUP-H100] ")]
    sections = [line for line in sections if not line.startswith("Making /")]
    assert sections == [
        "Preparing an H100", "Checking accounts", "Checking storage", "Making the environment",
        "Checking Flash Attention", "Checking the environment", "Checking the GPU", "Checking data",
        "Checking the configuration",
    ]  # fmt: skip


def test_conda_makes_the_environment_where_it_is(tmp_path: Path) -> None:
    machine = clone(tmp_path, "h100", "conda")
    with hub(200) as (url, _):
        done = machine.run("setup_runpod_h100.sh", HF_ENDPOINT=url)
        assert done.returncode == 0, done.stdout + done.stderr
        env = machine.environ["HOME"] + "/.weatherman/h100"
        assert machine.log[0] == f"conda env create --prefix {env} --file environment-remote.yml"
        assert machine.run("setup_runpod_h100.sh", HF_ENDPOINT=url).returncode == 0
        assert machine.log == []
        assert machine.run("setup_runpod_h100.sh", "--recreate", HF_ENDPOINT=url).returncode == 0
        assert machine.log[0].startswith("conda env create")


def test_changed_pins_complete_the_environment_without_making_it_anew(h100: Clone) -> None:
    with hub(200) as (url, _):
        h100.run("setup_runpod_h100.sh", HF_ENDPOINT=url)
        assert h100.log
        with (h100.root / "requirements-remote.txt").open("a") as file:
            file.write("another==1.0\n")
        done = h100.run("setup_runpod_h100.sh", HF_ENDPOINT=url)
    assert "Completing" in done.stdout
    assert [line.split()[0] for line in h100.log] == ["pip", "pip"]


@pytest.mark.parametrize(("script", "stub"), [(SCRIPTS[0], "h100"), (SCRIPTS[1], "m4_32gb")])
def test_recreate_leaves_alone_what_is_no_environment(script: str, stub: str, tmp_path: Path) -> None:
    precious = tmp_path / "precious"
    precious.mkdir()
    (precious / "thesis.txt").write_text("words")
    done = clone(tmp_path, stub).run(script, "--recreate", WEATHERMAN_ENV=str(precious))
    assert done.returncode == 1
    assert "is not an environment and is left alone" in done.stdout
    assert (precious / "thesis.txt").read_text() == "words"


@pytest.mark.parametrize("stub", ["no_gpu", "old_driver"])
def test_a_machine_that_cannot_train_stops_before_anything_is_installed(stub: str, tmp_path: Path) -> None:
    machine = clone(tmp_path, stub)
    done = machine.run("setup_runpod_h100.sh")
    assert done.returncode == 1
    assert_grammar(done.stdout)
    assert "nothing was installed" in done.stdout.splitlines()[-1]
    assert machine.log == []


def test_a_full_disk_and_a_missing_licence_are_reported_together(h100: Clone) -> None:
    with hub(403) as (url, _):
        done = h100.run("setup_runpod_h100.sh", HF_ENDPOINT=url, HF_TOKEN="t" * 20, STUB_FREE_GB="12")
    assert done.returncode == 1
    assert_grammar(done.stdout)
    assert done.stdout.splitlines()[-1].startswith("❌ ERROR: Not ready: accounts, storage. Hint: ")
    assert "its licence is not accepted yet" in done.stdout
    assert "12.0 GB free" in done.stdout


def test_a_kernel_that_fails_is_not_ready(tmp_path: Path) -> None:
    broken = json.dumps({"torch": "2.8.0", "cuda": "12.8", "error": "CUDA driver version is insufficient"})
    done = clone(tmp_path, "h100", compute=broken).run("setup_runpod_h100.sh")
    assert done.returncode == 1
    assert "CUDA driver version is insufficient" in done.stdout


def test_a_pip_that_fails_names_its_log(h100: Clone) -> None:
    done = h100.run("setup_runpod_h100.sh", STUB_PIP_EXIT="1")
    assert done.returncode == 1
    assert_grammar(done.stdout)
    assert done.stdout.splitlines()[-1] == (
        "❌ ERROR: requirements-remote.txt could not be installed. Hint: see logs/setup_h100.log"
    )
    with hub(200) as (url, _):
        assert h100.run("setup_runpod_h100.sh", HF_ENDPOINT=url).returncode == 0


def test_a_mac_from_nothing_to_ready_and_again(mac: Clone) -> None:
    with hub(200) as (url, _):
        first = mac.run("setup_m4_local.sh", HF_ENDPOINT=url)
        assert first.returncode == 0, first.stdout + first.stderr
        assert_grammar(first.stdout)
        assert mac.log == [
            "venv .venv-local",
            "pip install --quiet -r requirements-local.txt",
            "pip install --quiet --no-deps --editable .",
        ]
        assert "✅ SUCCESS: Apple M4\n" in first.stdout
        assert "Training was first planned with 12 to 18 hours on an M4" in first.stdout
        before = snapshot(mac.root)
        second = mac.run("setup_m4_local.sh", HF_ENDPOINT=url)
        assert second.returncode == 0
        assert mac.log == []
        assert snapshot(mac.root) == before
        mac.run("setup_m4_local.sh", "--recreate", HF_ENDPOINT=url)
        assert mac.log[0] == "venv .venv-local"


@pytest.mark.parametrize(
    ("stub", "words"),
    [("intel_mac", "6-Core Intel Core i7: Apple Silicon (M1 or newer) is needed"), ("h100", "this is not a Mac")],
)
def test_other_machines_are_no_m4(stub: str, words: str, tmp_path: Path) -> None:
    machine = clone(tmp_path, stub)
    done = machine.run("setup_m4_local.sh")
    assert done.returncode == 1
    assert_grammar(done.stdout)
    assert words in done.stdout
    assert machine.log == []


def test_a_16_gb_mac_gets_a_green_light_for_the_base_in_4_bits(tmp_path: Path) -> None:
    machine = clone(tmp_path, "m4_16gb", compute=COMPUTES_MPS)
    with hub(200) as (url, _):
        done = machine.run("setup_m4_local.sh", HF_ENDPOINT=url)
    assert done.returncode == 0, done.stdout
    assert_grammar(done.stdout)
    assert "a 7B base in bfloat16 (13.5 GB) does not fit beside macOS, in 4 bits it does" in done.stdout
    assert "✅ SUCCESS: the MLX engine (mlx " in done.stdout
    assert "configs/training_config_m4_16gb.yaml: LoRA r=16" in done.stdout
    assert done.stdout.splitlines()[-1] == "✅ SUCCESS: Ready. Next: ./train_m4_local.sh"


def test_the_python_that_is_new_enough_is_chosen_and_named(mac: Clone, tmp_path: Path) -> None:
    folder = tmp_path / "pythons"
    folder.mkdir()
    for name, text in (
        ("python3", "#!/bin/bash\n[[ $1 == --version ]] && echo 'Python 3.9.6' && exit\nexit 1\n"),
        ("python3.11", f'#!/bin/bash\nexec "{mac.environ["PYTHON"]}" "$@"\n'),
    ):
        (folder / name).write_text(text)
        (folder / name).chmod(0o755)
    del mac.environ["PYTHON"]
    done = mac.run("setup_m4_local.sh", PATH=f"{folder}:{mac.environ['PATH']}")
    assert f"({folder / 'python3.11'})" in done.stdout.splitlines()[1]
    (folder / "python3.11").unlink()
    for name in ("python3.10", "python3.12", "python3.13", "python3.11"):
        (folder / name).symlink_to("python3")
    done = mac.run("setup_m4_local.sh", PATH=f"{folder}:{mac.environ['PATH']}")
    assert done.returncode == 1
    assert "Python 3.9.6: Python 3.10 or newer is needed" in done.stdout


@pytest.mark.parametrize("script", SCRIPTS)
def test_a_rehearsal_goes_through_on_any_machine(script: str, tmp_path: Path) -> None:
    machine = clone(tmp_path)
    missing = machine.run(script, "--rehearse")
    assert missing.returncode == 1
    assert "Hint: make setup" in missing.stdout
    bin_folder = machine.root / ".venv/bin"
    bin_folder.mkdir(parents=True)
    (bin_folder / "python").symlink_to(machine.environ["STUB_PYTHON"])
    done = machine.run(script, "--rehearse")
    assert done.returncode == 0, done.stdout + done.stderr
    assert_grammar(done.stdout)
    assert "Cannot know here: " in done.stdout
    assert machine.log == []
    assert done.stdout.splitlines()[-1].endswith("--rehearse")


@pytest.mark.parametrize("script", SCRIPTS)
def test_names_of_the_environment_cannot_forge_a_line(script: str, tmp_path: Path) -> None:
    done = clone(tmp_path).run(script, "--rehearse", WEATHERMAN_ENV="/x\n✅ SUCCESS: forged\x1b[2J", CDPATH="/tmp:/")
    assert done.returncode == 1
    assert_grammar(done.stdout)


@pytest.mark.parametrize("script", SCRIPTS)
def test_existing_data_is_left_alone_and_a_broken_link_is_mended(script: str, tmp_path: Path) -> None:
    machine = clone(tmp_path)
    (machine.root / ".venv/bin").mkdir(parents=True)
    (machine.root / ".venv/bin/python").symlink_to(machine.environ["STUB_PYTHON"])
    processed = machine.root / "data/processed"
    processed.mkdir()
    (processed / "train.jsonl").write_text("mine\n")
    (processed / "validation.jsonl").symlink_to("gone.jsonl")
    machine.run(script, "--rehearse")
    assert (processed / "train.jsonl").read_text() == "mine\n"
    assert (processed / "validation.jsonl").resolve() == machine.root / "data/synthetic/final_validation.jsonl"


@pytest.mark.parametrize("script", SCRIPTS)
def test_help_and_odd_options(script: str, tmp_path: Path) -> None:
    machine = clone(tmp_path)
    shown = machine.run(script, "--help")
    assert shown.returncode == 0
    assert shown.stdout.startswith(f"Usage: ./{script} [--recreate] [--rehearse]")
    assert "set -euo" not in shown.stdout
    odd = machine.run(script, "--x\n✅ SUCCESS: forged\x1b[2J")
    assert odd.returncode == 1
    assert_grammar(odd.stdout)


def test_build_flash_attn_wants_minutes(tmp_path: Path) -> None:
    done = clone(tmp_path).run("setup_runpod_h100.sh", "--build-flash-attn", "soon")
    assert done.returncode == 1
    assert "needs a number of minutes" in done.stdout


@pytest.mark.parametrize("script", SCRIPTS)
def test_house_rules_of_shell(script: str) -> None:
    text = (ROOT / script).read_text()
    assert "set -euo pipefail" in text
    assert len(text.splitlines()) < 60
    assert "read -p" not in text


def test_shellcheck_and_shfmt_find_nothing() -> None:
    bin_folder = Path(sys.executable).parent
    for command in (["shellcheck", "-x"], ["shfmt", "-i", "2", "-d"]):
        done = subprocess.run(
            [str(bin_folder / command[0]), *command[1:], *SHELL_FILES],
            cwd=ROOT,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.stdout == ""
        assert done.returncode == 0
