"""The same questions with and without the adapter, side by side."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from weatherman.chat.chat import Answer, Chat
from weatherman.chat.terminal import call_line, figures_line, safe_text
from weatherman.task.task import UNNAMED

NUM_QUESTIONS = 3


@dataclass(frozen=True, slots=True)
class Compared:
    """A question's answers from the base model and from the adapter."""

    question: str
    persona: str
    without: Answer
    with_adapter: Answer

    def to_json(self) -> dict[str, Any]:
        """The pair for programs."""
        answers = {"without": self.without.to_json(), "with": self.with_adapter.to_json()}
        return {"question": self.question, "persona": self.persona, **answers}


def compare(chat: Chat, questions: Sequence[str], personas: Sequence[str]) -> list[Compared]:
    """Put every question to both, each in a new conversation.

    Args:
        chat: model, template and tools; its own conversation is left alone.
        questions: the questions.
        personas: whom to ask; the questions go to each.
    """
    pairs = []
    for persona in personas:
        for question in questions:
            answers = [
                replace(chat, persona=persona, adapter=adapter, _messages=[]).ask(question) for adapter in (False, True)
            ]
            pairs.append(Compared(question, persona, *answers))
    return pairs


def print_table(pairs: Sequence[Compared]) -> None:
    """Print the pairs as a table of two columns."""
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    console = Console(highlight=False, markup=False, emoji=False)
    for pair in pairs:
        table = Table(
            title=Text(safe_text(f"{pair.persona or UNNAMED}: {pair.question}")), title_justify="left", show_lines=True
        )
        for name in ("base model", "with the adapter"):
            table.add_column(name, ratio=1, overflow="fold")
        table.add_row(Text(_cell(pair.without)), Text(_cell(pair.with_adapter)))
        console.print(table)


def _cell(answer: Answer) -> str:
    problem = f"({answer.problem})" if answer.problem else ""
    parts = [*map(call_line, answer.outcomes), safe_text(answer.text), figures_line(answer), problem]
    return "\n".join(part for part in parts if part)
