"""The training scripts as files and as commands: thin, clean, never asking, right where the environment is missing."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from launching import REPOSITORY, Project, assert_grammar, project, stand_in

SCRIPTS = ("train_h100_runpod.sh", "train_m4_local.sh")


def tool(name: str) -> str:
    """A linter, from the environment or from PATH."""
    import sys

    found = shutil.which(name, path=str(Path(sys.executable).parent)) or shutil.which(name)
    if found is None:
        pytest.skip(f"{name} is not installed")
    return found


@pytest.fixture
def here(tiny: Path, tmp_path: Path) -> Iterator[Project]:
    with project(tmp_path, tiny) as made:
        yield made


@pytest.mark.parametrize("name", SCRIPTS)
def test_script_is_clean(name: str) -> None:
    subprocess.run([tool("shellcheck"), "-x", name], cwd=REPOSITORY, check=True)
    subprocess.run([tool("shfmt"), "-i", "2", "-ci", "-d", name], cwd=REPOSITORY, check=True)


@pytest.mark.parametrize("name", SCRIPTS)
def test_script_is_thin_strict_and_never_asks(name: str) -> None:
    path = REPOSITORY / name
    text = path.read_text()
    assert path.stat().st_mode & 0o111
    assert len(text.splitlines()) < 60
    assert "\nset -euo pipefail\n" in text
    assert "read " not in [line.strip()[:5] for line in text.splitlines() if not line.startswith("#")]
    assert "select " not in text


@pytest.mark.parametrize("name", SCRIPTS)
def test_help_is_the_header_and_names_every_option_that_exists(here: Project, name: str) -> None:
    done = here.run_words([str(here.folder / name), "--help"], cwd=Path("/"), WEATHERMAN_ENV="/nowhere")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith(f"Usage: ./{name} [options]\n")
    named = {word for word in done.stdout.split() if word.startswith("--")}
    known = here.run_words([str(here.folder / ".venv/bin/python"), "-m", "weatherman.cli", "launch", "--help"]).stdout
    assert {"--config", "--rehearse", "--foreground", "--no-watch", "--restarts"} <= named
    assert [option for option in named if option not in known] == []


@pytest.mark.parametrize(("name", "setup"), [(SCRIPTS[0], "setup_runpod_h100.sh"), (SCRIPTS[1], "setup_m4_local.sh")])
def test_missing_environment_is_one_line_and_exit_1(here: Project, name: str, setup: str) -> None:
    done = here.run_words([str(here.folder / name)], cwd=Path("/"))
    assert done.returncode == 1
    (line,) = assert_grammar(done.stdout)
    assert line.startswith("❌ ERROR: There is no environment in ")
    assert line.endswith(f"Hint: run ./{setup} first")
    assert not (here.folder / "logs").exists()


def test_real_h100_script_stops_at_preflight_on_a_machine_without_a_gpu(here: Project) -> None:
    words = [str(here.folder / "train_h100_runpod.sh")]
    done = here.run_words(words, cwd=Path("/"), WEATHERMAN_ENV=str(here.folder / ".venv"))
    assert done.returncode == 1
    lines = assert_grammar(done.stdout)
    assert any(line.startswith("❌ ERROR: No CUDA device found") for line in lines)
    assert lines[-1].startswith("❌ ERROR: Preflight failed; nothing was started.")
    assert not here.in_tmux()


def test_m4_rehearsal_keeps_the_machine_awake_and_tells_of_heat(here: Project, tmp_path: Path) -> None:
    programs = tmp_path / "bin"
    awake = stand_in(programs, "caffeinate", "exit 0")
    stand_in(
        programs, "pmset", "echo \"Now drawing from 'Battery Power'\"; echo ' -InternalBattery-0 63%; discharging'"
    )
    stand_in(programs, "osascript", "echo 2")
    path = f"{programs}:{here.environ['PATH']}"
    done = here.run("--restarts", "1", script="train_m4_local.sh", PATH=path)
    assert done.returncode == 0, done.stdout
    lines = assert_grammar(done.stdout)
    assert any(line.startswith("⚠️ WARNING: Cannot know here: the Mac runs on its battery (63% left)") for line in lines)
    assert any("the thermal state is serious before training has begun" in line for line in lines)
    (log,) = here.logs()
    assert log.name.startswith("training_m4_2")
    assert f"[TRAINING-M4] Log: tail -f '{log}'" in lines
    pid = here.events("start")[0]["pid"]
    assert awake.read_text() == f"-i -s -w {pid}\n"
    assert_grammar(log.read_text())
