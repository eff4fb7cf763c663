"""Alpaca: `instruction`, perhaps `input`, and `output`; earlier turns in `history`."""

from __future__ import annotations

from weatherman.data.changes import Changes
from weatherman.data.formats.form import Form, Row, text_of, without


def _to_openai(row: Row, changes: Changes) -> Row:
    instruction, more = text_of(row, "instruction"), text_of(row, "input", or_empty=True)
    messages: list[Row] = []
    for index, pair in enumerate(row.get("history") or ()):
        if not isinstance(pair, (list, tuple)) or len(pair) != 2 or not all(isinstance(one, str) for one in pair):
            raise ValueError(f"history[{index}]: expected a question and an answer")
        messages += [{"role": "user", "content": pair[0]}, {"role": "assistant", "content": pair[1]}]
    question = "\n".join(part for part in (instruction, more) if part.strip())
    messages += [{"role": "user", "content": question}, {"role": "assistant", "content": text_of(row, "output")}]
    return {**without(row, "instruction", "input", "output", "history", "text"), "messages": messages}


ALPACA = Form(
    "alpaca", ("instruction", "input", "output"), lambda row: "instruction" in row and "output" in row, _to_openai
)
