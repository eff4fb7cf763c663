"""`make train` in a clone that was moved, or whose Python is gone: the environment is mended, without a network."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
# As pip writes a command whose interpreter's path has a space in it.
COMMAND = """#!/bin/sh
'''exec' "{python}" "$0" "$@"
' '''
import sys, standin
print("RAN", sys.prefix, standin.__file__, *sys.argv[1:])
"""
# What pip does here: the last step of the set-up writes the command again, all others only count.
PIP = """
import os, sys
from pathlib import Path
with open(os.environ["PIP_LOG"], "a") as log:
    print(*sys.argv[1:], file=log)
if "--editable" in sys.argv:
    command = Path(sys.prefix, "bin", "weatherman")
    command.write_text(os.environ["STANDIN"].format(python=sys.executable))
    command.chmod(0o755)
    Path(__file__).parents[1].joinpath("__editable__.standin.pth").write_text(str(Path("src").absolute()) + "\\n")
"""
# A Python whose new environments have that pip.
PYTHON = """#!/bin/sh
set -e
if [ "$1 $2" = "-m venv" ]; then
  for folder; do :; done
  "{real}" -m venv --without-pip "$3" "$folder"
  mkdir -p "$folder"/lib/python3*/site-packages/pip 2>/dev/null || true
  for place in "$folder"/lib/python3*/site-packages; do mkdir -p "$place/pip"; cp "{pip}" "$place/pip/__main__.py"; done
else
  exec "{real}" "$@"
fi
"""


class Clone:
    def __init__(self, root: Path) -> None:
        self.folder, self._root = root / "a clone", root
        self.folder.mkdir()
        for name in ("Makefile", "requirements.txt", "requirements-dev.txt", "pyproject.toml"):
            shutil.copy(ROOT / name, self.folder)
        for name in ("scripts", "configs"):
            shutil.copytree(ROOT / name, self.folder / name, ignore=shutil.ignore_patterns("__pycache__"))
        (self.folder / "src").mkdir()
        (self.folder / "src" / "standin.py").touch()
        (root / "pip.py").write_text(PIP)
        self.python = root / "python3"
        self.python.write_text(PYTHON.format(real=Path(sys.executable).resolve(), pip=root / "pip.py"))
        self.python.chmod(0o755)

    def make(self, target: str) -> subprocess.CompletedProcess[str]:
        (self._root / "log").write_text("")
        environ = {
            **{name: text for name, text in os.environ.items() if not name.startswith(("MAKE", "MFLAGS", "VIRTUAL_ENV"))},
            "PIP_LOG": str(self._root / "log"), "STANDIN": COMMAND,
        }  # fmt: skip
        words = ["make", "--no-print-directory", target, f"PYTHON={self.python}"]
        return subprocess.run(words, cwd=self.folder, env=environ, capture_output=True, text=True, check=False)

    @property
    def installed(self) -> int:
        """How often pip ran in the last `make`."""
        return len((self._root / "log").read_text().splitlines())

    def assert_trains(self, done: subprocess.CompletedProcess[str]) -> None:
        assert done.returncode == 0, done.stdout + done.stderr
        source = self.folder / "src" / "standin.py"
        wanted = f"RAN {self.folder / '.venv'} {source} train --config configs/training_config_demo.yaml --new-run"
        assert done.stdout.splitlines()[-1] == wanted


@pytest.fixture
def clone(tmp_path: Path) -> Clone:
    made = Clone(tmp_path)
    made.assert_trains(made.make("train"))
    assert made.installed == 4
    return made


def test_an_environment_that_works_is_left_alone(clone: Clone) -> None:
    again = clone.make("train")
    clone.assert_trains(again)
    assert (clone.installed, again.stderr) == (0, "")
    assert (clone.folder / "data/processed/train.jsonl").readlink() == Path("../synthetic/final_train.jsonl")


def test_a_moved_clone_is_mended_without_installing(clone: Clone) -> None:
    moved = clone.folder.with_name("another place")
    clone.folder.rename(moved)
    clone.folder = moved
    done = clone.make("train")
    clone.assert_trains(done)
    assert clone.installed == 0
    assert done.stderr.startswith("⚠️ WARNING: .venv was moved here from ")
    assert clone.make("train").stderr == ""


def test_a_copied_clone_uses_its_own_environment(clone: Clone) -> None:
    copy = clone.folder.with_name("copy")
    shutil.copytree(clone.folder, copy, symlinks=True)
    clone.folder = copy
    clone.assert_trains(clone.make("train"))


@pytest.mark.parametrize("harm", ["gone", "broken", "no command"])
def test_an_environment_that_is_broken_is_made_anew(clone: Clone, harm: str) -> None:
    python = clone.folder / ".venv" / "bin" / "python"
    if harm == "no command":
        (clone.folder / ".venv" / "bin" / "weatherman").unlink()
    else:
        for path in python.parent.glob("python*"):
            path.unlink()
        if harm == "gone":
            python.symlink_to("/nowhere/python3")
        else:
            python.write_text("#!/bin/sh\nexit 1\n")
            python.chmod(0o755)
    done = clone.make("train")
    clone.assert_trains(done)
    assert clone.installed == 4
    assert done.stderr.startswith("⚠️ WARNING: ")
    assert "Error 127" not in done.stdout + done.stderr
