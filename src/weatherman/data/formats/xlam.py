"""xLAM: a `query`, the `tools` and the calls that are its `answers`, both as JSON text; a call is the last message."""

from __future__ import annotations

from weatherman.data.changes import Changes
from weatherman.data.formats.form import Form, Row, call_of, text_of, without
from weatherman.data.row_keys import decode_list


def _to_openai(row: Row, changes: Changes) -> Row:
    answers = decode_list(row.get("answers"), Changes())  # text is how this form is written: no change
    if not isinstance(answers, list) or not answers:
        raise ValueError("answers: expected a list with at least one call")
    tools = decode_list(row.get("tools"), Changes())
    calls = [call_of(answer, f"answers[{index}]") for index, answer in enumerate(answers)]
    messages = [
        {"role": "user", "content": text_of(row, "query")},
        {"role": "assistant", "content": None, "tool_calls": calls},
    ]
    return {**without(row, "query", "answers", "tools"), "messages": messages, "tools": tools}


XLAM = Form("xlam", ("query", "tools", "answers"), lambda row: "query" in row and "answers" in row, _to_openai)
