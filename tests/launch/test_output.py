"""A closed terminal and a full log disk lose lines, and never a run."""

from __future__ import annotations

import contextlib
import json
import os
import pty
import subprocess
import sys
from pathlib import Path

import pytest

from command_line import WEATHERMAN, environment, read_events, wait_for

SAY = "from weatherman import messages\nmessages.outlast_the_output()\n"


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full")
def test_full_disk_under_the_log_is_survived() -> None:
    code = SAY + "for _ in range(20_000): messages.say('DATA', 'words')\nimport sys; print('x', file=sys.stderr)"
    with Path("/dev/full").open("wb") as full:
        done = subprocess.run([sys.executable, "-c", code], stdout=full, stderr=full, check=False)
    assert done.returncode == 0


def test_what_can_be_written_is_written_and_colour_needs_a_terminal() -> None:
    code = SAY + "messages.success('grün ✅'); print('half', end='')"
    environ = {**os.environ, "PYTHONIOENCODING": "utf-8"}
    done = subprocess.run([sys.executable, "-c", code], stdout=subprocess.PIPE, env=environ, check=True)
    assert done.stdout.decode() == "✅ SUCCESS: grün ✅\nhalf"


def test_broken_pipe_is_still_told() -> None:
    code = SAY + "for _ in range(20_000): messages.say('DATA', 'words')"
    process = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert process.stdout is not None
    assert process.stderr is not None
    process.stdout.close()
    assert b"BrokenPipeError" in process.stderr.read()
    assert process.wait(60) != 0


def test_training_whose_terminal_closes_saves_and_leaves_with_129(tiny: Path) -> None:
    run = tiny.parent / "run"
    words = [*WEATHERMAN, "train", "-c", str(tiny), "--set", "max_steps=500", "--set", "save_steps=1000"]
    pid, master = pty.fork()
    if pid == 0:
        os.execve(words[0], words, environment(tiny.parent / "cache"))
    os.set_blocking(master, False)

    def has_begun() -> bool:
        with contextlib.suppress(BlockingIOError):
            os.read(master, 2**16)
        return bool(read_events(run, "step"))

    wait_for(has_begun)
    os.close(master)
    _, status = os.waitpid(pid, 0)
    assert os.waitstatus_to_exitcode(status) == 129
    step = read_events(run, "step")[-1]["step"]
    assert json.loads((run / "status.json").read_text())["state"] == "stopped"
    assert (run / f"checkpoint-{step}" / "manifest.json").is_file()
