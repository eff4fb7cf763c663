"""Every example of every --help is run, in a clone fresh from `make setup`; small stand-ins take the place of hours.

The stand-ins: a tiny model and its data under the demo configuration's name, the first rows of the data set, a rehearsal
where an example needs hardware. The words of an example stay as they are, so that one that cannot work is red.
"""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

import pytest

from command_reference import ROOT, subcommands, weatherman
from tiny_model import CONFIG, write_setting

FOLDER = ROOT / "src/weatherman/commands"
NUM_ROWS = 120
NEEDS_HARDWARE = ("check", "doctor", "launch")
SLOW = ("launch", "compare", "export", "tune")


def commands() -> Iterator[tuple[tuple[str, ...], str]]:
    """Every command that has no commands of its own, as its words, and its help."""
    waiting: list[tuple[str, ...]] = [()]
    while waiting:
        words = waiting.pop(0)
        text = weatherman(*words)
        found = subcommands(text)
        waiting += [(*words, name) for name in found]
        if not found:
            yield words, text


def written_examples() -> list[str]:
    """The examples in the source of the commands: what is parametrised must not need a process each."""
    texts = [path.read_text(encoding="utf-8") for path in sorted(FOLDER.glob("*.py"))]
    return [found for text in texts for found in re.findall(r"^ +Example: (.+)$", text, re.MULTILINE)]


@pytest.fixture(scope="module")
def clone(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A clone after `make setup`, with a finished run, in which the stand-ins are."""
    root = tmp_path_factory.mktemp("examples") / "clone"
    (root / "data/synthetic").mkdir(parents=True)
    for name in ("Makefile", "requirements.txt", "requirements-dev.txt", "pyproject.toml"):
        shutil.copy(ROOT / name, root)
    for name in ("scripts", "configs"):
        shutil.copytree(ROOT / name, root / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("final_train.jsonl", "final_validation.jsonl"):
        with (ROOT / "data/synthetic" / name).open(encoding="utf-8") as file:
            (root / "data/synthetic" / name).write_text("".join(islice(file, NUM_ROWS)), encoding="utf-8")
    setting = root.parent / "setting"
    write_setting(setting)
    model = setting / "model" / "config.json"
    model.write_text(model.read_text().replace('"max_position_embeddings": 1024', '"max_position_embeddings": 8192'))
    text = CONFIG.format(root=setting).replace(f"output_dir: {setting}/run", "output_dir: runs/demo")
    (root / "configs/training_config_demo.yaml").write_text(text)
    rows = (setting / "train.jsonl").read_text(encoding="utf-8").splitlines(keepends=True)
    (root / "my_chats.jsonl").write_text("".join(rows[:8]), encoding="utf-8")
    (root / ".venv").mkdir()
    (root / ".venv/bin").symlink_to(Path(sys.executable).parent)
    (root / ".venv/ready").touch()
    made = subprocess.run(["make", "setup"], cwd=root, capture_output=True, text=True, check=False)
    assert (made.returncode, made.stderr) == (0, ""), made.stdout + made.stderr
    (train,) = [example for example in written_examples() if example.startswith("weatherman train ")]
    done = run(root, train)
    assert done.returncode == 0, done.stdout + done.stderr
    return root


def run(clone: Path, example: str, *more: str) -> subprocess.CompletedProcess[str]:
    environ = {
        **{name: text for name, text in os.environ.items() if not name.startswith(("MAKE", "MFLAGS", "TMUX"))},
        "PATH": f"{clone / '.venv/bin'}:{os.environ['PATH']}", "WEATHERMAN_CACHE": str(clone.parent / "cache"),
        "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1", "HOME": str(clone.parent),
        "WEATHERMAN_REHEARSAL_MODEL": str(clone.parent / "setting/model"),
    }  # fmt: skip
    line = " ".join([example.replace("/tmp/", f"{shlex.quote(str(clone.parent))}/tmp-"), *more])
    return subprocess.run(["sh", "-c", line], cwd=clone, env=environ, capture_output=True, text=True, check=False)


def test_every_command_has_an_example_and_help_shows_it() -> None:
    written = written_examples()
    found = []
    for words, text in commands():
        help_text = " ".join(text.split())
        mine = [example for example in written if f"Example: {example}" in help_text]
        assert len(mine) == 1, words
        assert shlex.split(mine[0])[: len(words) + 1] == ["weatherman", *words]
        found += mine
    assert sorted(found) == sorted(written)


@pytest.mark.parametrize(
    "example",
    [
        pytest.param(example, marks=[pytest.mark.slow] if shlex.split(example)[1] in SLOW else [])
        for example in written_examples()
    ],
)
def test_example_works(clone: Path, example: str) -> None:
    words = shlex.split(example)
    more = ["--rehearse"] if words[1] in NEEDS_HARDWARE else []
    if words[1] == "launch":
        more.append("--foreground")
    done = run(clone, example, *more)
    said = done.stdout + done.stderr
    if words[1] == "chat":  # a model of random weights has no proper answer; it was asked, and cut
        assert "(the answer was cut after" in said, said
        return
    assert done.returncode == 0, said
    assert "❌" not in said
    if "--json" in words:
        json.loads(done.stdout)
    if "--output" in words:
        assert (clone / words[words.index("--output") + 1]).exists()
