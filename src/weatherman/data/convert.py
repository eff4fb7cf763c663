"""Files of any form -> one file in the OpenAI form, with everything that was changed or refused counted."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TextIO

from weatherman.data.changes import Changes, as_json
from weatherman.data.read import read_rows
from weatherman.data.reading import Reading
from weatherman.data.strict_json import strict_json
from weatherman.errors import WeathermanError
from weatherman.records import Conversation, Message
from weatherman.system.atomic import text_written_atomically

MAX_NAMED_REFUSALS = 20


@dataclass(slots=True)
class Converted:
    """What a conversion did: rows read, kept and refused, what was changed in those kept, and the first refusals."""

    num_rows: int = 0
    num_kept: int = 0
    num_refused: int = 0
    changes: Changes = field(default_factory=Changes)
    refusals: list[WeathermanError] = field(default_factory=list)

    def to_json(self) -> dict[str, Any]:
        """For machines."""
        return {
            "rows": self.num_rows,
            "kept": self.num_kept,
            "refused": self.num_refused,
            "changes": as_json(self.changes),
            "refusals": [str(one) for one in self.refusals],
        }


def convert(places: Sequence[Path], output: Path, reading: Reading) -> Converted:
    """Read every row, write those that are valid; the output appears whole or not at all.

    Args:
        places: files, patterns or folders.
        output: the JSONL file to write.
        reading: how they are to be read.

    Returns:
        The counts.

    Raises:
        WeathermanError: a file cannot be read, no row is valid, or the output cannot be written.
    """
    done = Converted()
    try:
        with text_written_atomically(output) as file:
            for place in places:
                _convert_one(place, file, reading, done)
            if not done.num_kept:
                raise WeathermanError("data.none-valid", _none_valid(done), "is it another form? --from names it.")
    except OSError as problem:
        raise WeathermanError("data.unwritable", f"{output} cannot be written: {problem.strerror}.") from problem
    return done


def _convert_one(place: Path, file: TextIO, reading: Reading, done: Converted) -> None:
    for conversation, problems in read_rows(place, reading, done.changes):
        done.num_rows += 1
        if conversation is None:
            done.num_refused += 1
            done.refusals += problems[:1] if len(done.refusals) < MAX_NAMED_REFUSALS else []
        else:
            done.num_kept += 1
            file.write(json.dumps(to_row(conversation), ensure_ascii=False) + "\n")


def _none_valid(done: Converted) -> str:
    first = f" The first: {done.refusals[0].message}" if done.refusals else ""
    return f"none of {done.num_rows:,} rows can be read; nothing was written.{first}"


def to_row(conversation: Conversation) -> dict[str, Any]:
    """A conversation as a row in the OpenAI form; reading it again gives the same conversation."""
    row: dict[str, Any] = {"messages": [_message(one) for one in conversation.messages]}
    if conversation.tools:
        row["tools"] = list(conversation.tools)
    if conversation.metadata:
        row["metadata"] = conversation.metadata
    return row


def _message(message: Message) -> dict[str, Any]:
    row: dict[str, Any] = {"role": message.role, "content": message.content}
    if message.reasoning is not None:
        row["reasoning_content"] = message.reasoning
    if message.tool_calls:
        row["tool_calls"] = [
            {
                "id": call.id,
                "type": "function",
                "function": {"name": call.name, "arguments": json.dumps(call.arguments, ensure_ascii=False)},
            }
            for call in message.tool_calls
        ]
    if message.tool_call_id is not None:
        row["tool_call_id"] = message.tool_call_id
    if message.role == "assistant" and not message.trained:
        row["train"] = False
    return row


def tools_file(path: Path) -> str:
    """The JSON text of a file of tool declarations: a list, or an object with `tools`.

    Raises:
        WeathermanError: it cannot be read, or holds no list.
    """
    try:
        value = strict_json(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as problem:
        reason = getattr(problem, "strerror", None) or problem
        raise WeathermanError("data.tools-file", f"{path}: {reason}.", "a JSON list of tools is expected.") from problem
    tools = value.get("tools") if isinstance(value, dict) else value
    if not isinstance(tools, list):
        raise WeathermanError("data.tools-file", f"{path} holds no list of tools.", "a JSON list of tools is expected.")
    return json.dumps(tools, ensure_ascii=False)
