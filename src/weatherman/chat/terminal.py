"""The chat in a terminal: streaming text, visible tool calls, and a few commands. What the model writes is escaped."""

from __future__ import annotations

import json
from collections.abc import Iterable
from contextlib import nullcontext
from typing import Any, TextIO

from weatherman.chat.chat import Answer, Chat
from weatherman.chat.tool_use import ToolOutcome
from weatherman.chat.waiting import thinking
from weatherman.errors import WeathermanError
from weatherman.messages import escape
from weatherman.task.task import UNNAMED
from weatherman.tools.by_hand import ByHand
from weatherman.tools.source import result_text

_DIM, _BOLD, _RED, _END = "\033[2m", "\033[1m", "\033[31m", "\033[0m"
_MAX_RESULT_CHARS = 400
_UNANSWERED = "nothing executes this call: --mcp COMMAND does, and with --tools-by-hand you are asked for the result"


def help_line(chat: Chat) -> str:
    """The commands of the chat."""
    names = chat.task.persona_names
    persona = [f"/persona {'|'.join(names)}"] if names else []
    return escape(", ".join([*persona, "/new (forget this conversation)", "/quit"]))


def safe_text(text: str) -> str:
    """Text of a model made safe for a terminal: nothing in it can move the cursor; line breaks stay."""
    return "\n".join(escape(line) for line in text.split("\n"))


def call_line(outcome: ToolOutcome) -> str:
    """A tool call and its result on one line."""
    result = result_text(outcome.result) if outcome.executed else ""
    if len(result) > _MAX_RESULT_CHARS:
        result = result[:_MAX_RESULT_CHARS] + " …"
    arguments = ", ".join(
        f"{name}={json.dumps(value, ensure_ascii=False)}" for name, value in outcome.call.arguments.items()
    )
    mark = "→" if outcome.valid else "✗ invalid call:"
    return escape(f"{mark} {outcome.call.name}({arguments})" + (f" = {result}" if outcome.executed else ""))


def figures_line(answer: Answer) -> str:
    """What an answer's reader should not take for a tool's word; empty where there is nothing."""
    return escape(f"(figures no tool gave: {', '.join(answer.figures)})") if answer.figures else ""


class Printer:
    """Prints an answer while it is made.

    Args:
        stream: where to.
        colour: dim the tool calls.
    """

    def __init__(self, stream: TextIO, *, colour: bool) -> None:
        self._stream, self._colour = stream, colour
        self._in_line = False

    def text(self, text: str) -> None:
        """Print a piece of the answer's text."""
        shown = safe_text(text)
        self._stream.write(shown)
        self._stream.flush()
        self._in_line = not shown.endswith("\n")

    def called(self, outcome: ToolOutcome) -> None:
        """Print a tool call."""
        self.end()
        self._line(call_line(outcome), _DIM if outcome.valid else _RED)

    def problem(self, text: str) -> None:
        """Print what went wrong."""
        self.end()
        self._line(f"({escape(text)})", _RED)

    def note(self, text: str) -> None:
        """Print a remark on the answer."""
        self.end()
        self._line(escape(text), _DIM)

    def title(self, text: str) -> None:
        """Print a line about the chat itself."""
        self._line(escape(text), _BOLD)

    def end(self) -> None:
        """End the line at hand."""
        if self._in_line:
            self._stream.write("\n")
            self._in_line = False
        self._stream.flush()

    def _line(self, text: str, shade: str) -> None:
        self._stream.write(f"{shade}{text}{_END}\n" if self._colour else f"{text}\n")
        self._stream.flush()


def answer_json(chat: Chat, question: str, answer: Answer, facts: dict[str, Any]) -> str:
    """One answer as a line of JSON."""
    found = {"format_version": 1, **facts, "persona": chat.persona, "question": question, **answer.to_json()}
    return json.dumps(found, ensure_ascii=False)


def converse(chat: Chat, lines: Iterable[str], printer: Printer) -> bool:
    """Answer line after line until they end or say /quit.

    Args:
        chat: the conversation.
        lines: the user's.
        printer: shows the answers.

    Returns:
        Whether every question got its answer; one that the user interrupted does not count.
    """
    good = True
    for line in lines:
        text = line.strip()
        if text in ("/quit", "/exit"):
            break
        if text.startswith("/"):
            _command(chat, text, printer)
        elif text:
            try:
                good &= ask_and_print(chat, text, printer)
            except KeyboardInterrupt:
                printer.problem("interrupted; the question is forgotten. Ctrl-C again ends the chat")
    return good


def ask_and_print(chat: Chat, question: str, printer: Printer) -> bool:
    """Put one question and show the answer; tells whether it got one."""
    try:
        asks_the_user = chat.source is not None and chat.source.name == ByHand.name
        with nullcontext(printer) if asks_the_user else thinking(printer) as listener:
            answer = chat.ask(question, listener)
    except WeathermanError as problem:
        printer.problem(str(problem))
        return False
    printer.end()
    if line := figures_line(answer):
        printer.note(line)
    if answer.problem:
        printer.problem(answer.problem)
    if not answer.complete:
        printer.title(_UNANSWERED)
    return not answer.problem


def _command(chat: Chat, text: str, printer: Printer) -> None:
    name, _, argument = text.partition(" ")
    try:
        if name == "/persona" and argument.strip():
            chat.switch(argument.strip())
            printer.title(f"{chat.persona or UNNAMED} speaks now")
        elif name == "/new":
            chat.switch(chat.persona)
            printer.title("a new conversation")
        else:
            printer.title(help_line(chat))
    except WeathermanError as problem:
        printer.problem(str(problem))
