"""The chat on a real terminal: a history that is private, an end that is clean, and a sign of life."""

from __future__ import annotations

import os
import pty
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from command_line import environment, wait_for

CHAT = """
import sys, time
from pathlib import Path
from weatherman.chat import chat as module
from weatherman.chat.line_editing import typed_lines
from weatherman.chat.terminal import Printer, converse
from weatherman.chat.chat import Answer

class Talk:
    source = None

    def ask(self, question, listener):
        if "hang" in question:
            print("ASKED", flush=True)
            time.sleep(600)
        if "slow" in question:
            time.sleep(0.4)
        listener.text(f"<{question}>")
        return Answer(question, figures=("7 %",) if "figure" in question else ())

good = converse(Talk(), typed_lines(Path(sys.argv[1])), Printer(sys.stdout, colour=False))
print("ENDED", good, flush=True)
"""


class Terminal:
    """A chat with a scripted model in a terminal of its own."""

    def __init__(self, cache: Path) -> None:
        self._master, slave = pty.openpty()
        self.said = ""
        env = {**environment(cache), "TERM": "xterm"}
        self.process = subprocess.Popen(
            [sys.executable, "-c", CHAT, str(cache / "chat_history")], stdin=slave, stdout=slave, stderr=slave, env=env, start_new_session=True,
            preexec_fn=lambda: __import__("fcntl").ioctl(0, __import__("termios").TIOCSCTTY, 0),
        )  # fmt: skip
        os.close(slave)
        os.set_blocking(self._master, False)

    def type(self, text: str) -> None:
        os.write(self._master, text.encode())

    def read(self) -> str:
        try:
            while data := os.read(self._master, 65536):
                self.said += data.decode(errors="replace")
        except OSError:
            pass
        return self.said

    def wait(self, text: str, times: int = 1) -> None:
        try:
            wait_for(lambda: self.read().count(text) >= times, timeout_s=60)
        except AssertionError:
            raise AssertionError(f"{text!r} was not said: {self.said!r}") from None

    def end(self) -> int:
        code = self.process.wait(60)
        self.read()
        return code

    def close(self) -> None:
        self.process.kill()
        self.process.wait()
        os.close(self._master)


@pytest.fixture
def terminal(tmp_path: Path) -> Iterator[Terminal]:
    made = Terminal(tmp_path / "cache")
    made.wait("you> ")
    yield made
    made.close()


def test_lines_are_edited_and_kept_in_a_private_history(terminal: Terminal, tmp_path: Path) -> None:
    pytest.importorskip("readline")
    terminal.type("fgo\x7f\x7fog?\n")  # typed wrongly, and mended
    terminal.wait("<fog?>")
    terminal.wait("you> ", 2)
    terminal.type("\x1b[A\n")  # the line before
    terminal.wait("<fog?>", 2)
    terminal.wait("you> ", 3)
    terminal.type("\x04")
    terminal.wait("ENDED True")
    assert terminal.end() == 0
    history = tmp_path / "cache" / "chat_history"
    assert "fog?" in history.read_text()
    assert history.stat().st_mode & 0o777 == 0o600
    assert terminal.said.rstrip().endswith("\r\nENDED True")


def test_the_history_is_there_the_next_time_and_stays_private(terminal: Terminal, tmp_path: Path) -> None:
    pytest.importorskip("readline")
    terminal.type("first words\n")
    terminal.wait("<first words>")
    terminal.type("/quit\n")
    assert terminal.end() == 0
    history = tmp_path / "cache" / "chat_history"
    history.chmod(0o644)
    again = Terminal(tmp_path / "cache")
    try:
        again.wait("you> ")
        again.type("\x1b[A\x1b[A\n")
        again.wait("<first words>")
        again.type("\x04")
        assert again.end() == 0
    finally:
        again.close()
    assert history.stat().st_mode & 0o777 == 0o600


def test_ctrl_c_interrupts_an_answer_and_a_second_one_ends_the_chat(terminal: Terminal) -> None:
    terminal.type("hang\n")
    terminal.wait("ASKED")
    terminal.type("\x03")
    terminal.wait("interrupted; the question is forgotten")
    terminal.wait("you> ", 2)
    terminal.type("again\n")
    terminal.wait("<again>")
    terminal.wait("you> ", 3)
    terminal.type("\x03")
    terminal.wait("ENDED True")
    assert terminal.end() == 0
    assert "Traceback" not in terminal.said


def test_it_shows_that_it_thinks_and_marks_figures(terminal: Terminal) -> None:
    terminal.type("slow figure\n")
    terminal.wait("thinking")
    terminal.wait("(figures no tool gave: 7 %)")
    terminal.type("\x04")
    assert terminal.end() == 0
    assert terminal.said.index("thinking") < terminal.said.index("<slow figure>")


def test_nothing_is_shown_where_there_is_no_terminal(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", CHAT, str(tmp_path / "chat_history")], input="slow figure\n", env=environment(tmp_path), capture_output=True, text=True,
        check=False,
    )  # fmt: skip
    assert done.stderr == ""
    assert done.stdout == "<slow figure>\n(figures no tool gave: 7 %)\nENDED True\n"
    assert not (tmp_path / "chat_history").exists()
