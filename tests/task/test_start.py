"""`weatherman init`: what it writes is valid, says nothing untrue, and its README's commands run as they stand."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from command_line import environment, weatherman
from tokenizers_for_tests import mistral, smollm2
from weatherman.config.load import load_config
from weatherman.data.convert import convert, tools_file
from weatherman.data.read import read_rows
from weatherman.data.reading import Reading
from weatherman.errors import WeathermanError
from weatherman.rendering.render import render
from weatherman.rendering.templates import MISTRAL_V3, SMOLLM2
from weatherman.task.start import write_starter


def commands(readme: Path) -> str:
    (block,) = re.findall(r"^```bash\n(.*?)^```$", readme.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)
    return str(block)


def test_everything_that_is_written_validates(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    done = weatherman("init", tmp_path / "mine", cache=tmp_path / "cache")
    assert done.returncode == 0, done.stdout + done.stderr
    monkeypatch.chdir(tmp_path / "mine")
    names = {"README.md", "config.yaml", "conversations.jsonl", "prompts.txt", "tools.json"}
    assert {path.name for path in Path().iterdir()} == names
    made = convert(
        [Path("conversations.jsonl")], Path("train.jsonl"), Reading(tools_text=tools_file(Path("tools.json")))
    )
    assert (made.num_kept, made.refusals, dict(made.changes)) == (8, [], {"tools-from-file": 8})
    conversations = [one for one, _ in read_rows(Path("train.jsonl")) if one]
    called = {call.name for one in conversations for message in one.messages for call in message.tool_calls}
    assert called == {tool["function"]["name"] for tool in conversations[0].tools}
    for one in conversations:
        assert render(one, SMOLLM2, smollm2())
        assert render(one, MISTRAL_V3, mistral())
    config = load_config(Path("config.yaml"))
    assert config.train_file == "train.jsonl"
    assert config.sample_prompts == Path("prompts.txt").read_text(encoding="utf-8").splitlines()
    readme = Path("README.md").read_text(encoding="utf-8")
    assert len(readme.splitlines()) == 10
    assert config.output_dir == "runs/desk"
    assert "runs/desk" in commands(Path("README.md"))


def test_a_folder_with_something_in_it_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    write_starter(tmp_path / "mine")  # an empty one is taken
    (tmp_path / "mine" / "config.yaml").write_text("my own work")
    with pytest.raises(WeathermanError) as caught:
        write_starter(tmp_path / "mine")
    assert caught.value.code == "init.exists"
    assert (tmp_path / "mine" / "config.yaml").read_text() == "my own work"
    (tmp_path / "file").write_text("")
    for target, code in ((tmp_path / "file", "init.exists"), (tmp_path / "file" / "below", "init.unwritable")):
        with pytest.raises(WeathermanError) as caught:
            write_starter(target)
        assert caught.value.code == code
    assert sorted(path.name for path in tmp_path.iterdir()) == ["file", "mine"]


@pytest.mark.slow
def test_the_commands_of_the_readme_run_as_they_stand(tmp_path: Path) -> None:
    write_starter(tmp_path / "mine")
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", commands(tmp_path / "mine" / "README.md")], cwd=tmp_path / "mine",
        env=environment(tmp_path / "cache", PATH=path), capture_output=True, text=True, timeout=1800, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    assert '→ find_book(title="Middlemarch") = {"shelf": "E3", "copies": 2}' in done.stdout
    assert (tmp_path / "mine" / "runs" / "desk" / "report.html").is_file()
