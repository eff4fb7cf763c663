"""Large input takes bounded memory and bounded reads; ratios only, no absolute times."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from load import bytes_read, least_s, long_conversation, many_tools, write_events, write_lines
from tokenizers_for_tests import mistral
from weatherman.data.read import read_line
from weatherman.rendering.render import render
from weatherman.rendering.templates import MISTRAL_V3, SMOLLM2
from weatherman.rendering.tokenizer import load_tokenizer
from weatherman.run.status import read_status

CHECK = """
import resource, sys
from pathlib import Path
from weatherman.data.read import check_file
num_rows, problems = check_file(Path(sys.argv[1]))
print(num_rows, len(problems), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
"""


def check_in_a_process(path: Path) -> tuple[int, int, int]:
    done = subprocess.run([sys.executable, "-c", CHECK, str(path)], capture_output=True, text=True, check=True)
    num_rows, num_problems, peak_kb = map(int, done.stdout.split())
    return num_rows, num_problems, peak_kb


def assert_bounded(tmp_path: Path, num_lines: int) -> None:
    write_lines(tmp_path / "short.jsonl", 100)
    write_lines(tmp_path / "long.jsonl", num_lines)
    short, long = check_in_a_process(tmp_path / "short.jsonl"), check_in_a_process(tmp_path / "long.jsonl")
    assert long[:2] == (num_lines, 0)
    size_kb = (tmp_path / "long.jsonl").stat().st_size / 1024
    assert long[2] - short[2] < max(8 * 1024, size_kb / 5)


def test_a_long_data_file_is_checked_in_bounded_memory(tmp_path: Path) -> None:
    assert_bounded(tmp_path, 30_000)


@pytest.mark.slow
def test_a_million_lines_are_checked_in_bounded_memory(tmp_path: Path) -> None:
    assert_bounded(tmp_path, 1_000_000)


def test_status_of_a_long_run_reads_its_tail_only(tmp_path: Path) -> None:
    write_events(tmp_path / "short", 100)
    write_events(tmp_path / "long", 100_000)
    assert (tmp_path / "long" / "events.jsonl").stat().st_size > 2**24
    before = bytes_read()
    assert read_status(tmp_path / "long").step == 100_000
    assert bytes_read() - before < 2**20
    for name in ("short", "long"):
        (tmp_path / name / "status.json").unlink()  # then the events are asked
    before = bytes_read()
    assert read_status(tmp_path / "long").step == 99_999
    assert bytes_read() - before < 2**20
    assert least_s(lambda: read_status(tmp_path / "long")) < 20 * least_s(lambda: read_status(tmp_path / "short"))


@pytest.mark.parametrize("template", [SMOLLM2, MISTRAL_V3], ids=lambda template: template.name)
def test_a_conversation_of_200_000_characters(tiny_source: Path, tmp_path: Path, template: object) -> None:
    row = long_conversation(200_000)
    (tmp_path / "long.jsonl").write_text(json.dumps(row))
    conversation = read_line(tmp_path / "long.jsonl", 1)
    if template is MISTRAL_V3:
        view = render(conversation, MISTRAL_V3, mistral())[0]
        assert row["messages"][1]["content"] in mistral().decode(view.ids.tolist())
        return
    tokenizer = load_tokenizer(tiny_source / "model")
    (example,) = render(conversation, SMOLLM2, tokenizer)
    supervised = example.ids[np.asarray(example.mask, bool)]
    assert len(supervised) > 40_000
    assert row["messages"][1]["content"] in tokenizer.decode([int(one) for one in supervised])


def test_500_tools(tiny_source: Path, tmp_path: Path) -> None:
    row = many_tools(500)
    (tmp_path / "tools.jsonl").write_text(json.dumps(row))
    conversation = read_line(tmp_path / "tools.jsonl", 1)
    assert len(conversation.tools) == 500
    example = render(conversation, SMOLLM2, load_tokenizer(tiny_source / "model"))[0]
    assert len(example.ids) > 20_000
    row["messages"][2]["tool_calls"][0]["function"]["name"] = "get_weather_500"
    (tmp_path / "wrong.jsonl").write_text(json.dumps(row))
    with pytest.raises(Exception, match="not a valid conversation") as caught:
        read_line(tmp_path / "wrong.jsonl", 1)
    assert '"get_weather_500" is not a declared tool' in caught.value.problems[0].message  # type: ignore[attr-defined]
