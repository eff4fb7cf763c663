"""Hermes: ShareGPT's turns with calls in ``<tool_call>`` tags, results in ``<tool_response>``, tools in the prompt."""

from __future__ import annotations

import json
import re

from weatherman.data.changes import Changes
from weatherman.data.formats.form import Form, Row, call_of, without
from weatherman.data.formats.sharegpt import turns_of
from weatherman.data.strict_json import strict_json

_CALL = re.compile(r"<tool_call>(.*?)</tool_call>", re.DOTALL)
_RESULT = re.compile(r"<tool_response>(.*?)</tool_response>", re.DOTALL)
_TOOLS = re.compile(r"<tools>\s*(\S.*?)\s*</tools>", re.DOTALL)
_THOUGHT = re.compile(r"\s*<think>(.*?)</think>", re.DOTALL)


def tagged_messages(turns: list[tuple[str, str, Row]]) -> list[Row]:
    """Messages of turns whose calls and results stand in tags.

    Raises:
        ValueError: what stands in a tag is no call.
    """
    messages: list[Row] = []
    for index, (role, text, marks) in enumerate(turns):
        where = f"turn {index + 1}"
        if role == "assistant":
            messages.append({**_answer(text, where), **marks})
        elif role in ("tool", "user") and (results := _RESULT.findall(text)):
            messages += [{"role": "tool", "content": _result(one)} for one in results]
        elif role == "function_call":
            raise ValueError(f"{where}: a turn that only calls; is this the sharegpt form?")
        else:
            messages.append({"role": role, "content": text, **marks})
    return messages


def _answer(text: str, where: str) -> Row:
    message: Row = {"role": "assistant"}
    if thought := _THOUGHT.match(text):
        message["reasoning_content"], text = thought[1].strip(), text[thought.end() :]
    bodies = _CALL.findall(text)
    rest = _CALL.sub("", text)
    if "<tool_call>" in rest or "</tool_call>" in rest:
        raise ValueError(f"{where}: a <tool_call> that is not closed")
    if not bodies:
        return {**message, "content": text.strip()}
    return {**message, "content": rest.strip() or None, "tool_calls": [_call(body, where) for body in bodies]}


def _call(body: str, where: str) -> Row:
    try:
        return call_of(strict_json(body.strip()), where)
    except ValueError as problem:
        raise ValueError(f"{where}: the call in <tool_call> is {problem}") from None


def _result(body: str) -> str:
    """What the tool gave; some files wrap it in an object with the tool's name."""
    try:
        value = json.loads(body)
    except ValueError:
        return body.strip()
    if isinstance(value, dict) and set(value) <= {"tool_call_id", "name", "content"} and "content" in value:
        content = value["content"]
        return content if isinstance(content, str) else json.dumps(content, ensure_ascii=False)
    return body.strip()


def tools_from_prompt(messages: list[Row], row: Row, changes: Changes) -> Row:
    """Take the tools out of a system prompt that lists them in tags; where the row has them too, its own count."""
    first = messages[0] if messages else {}
    found = _TOOLS.search(str(first.get("content"))) if first.get("role") == "system" else None
    if found is None:
        return row
    changes.add("tools-from-prompt")
    messages[0] = {**first, "content": (first["content"][: found.start()] + first["content"][found.end() :]).strip()}
    return row if row.get("tools") else {**row, "tools": _listed(found[1])}


def _listed(text: str) -> object:
    """A list of tools, or one a line.

    Raises:
        ValueError: it is neither.
    """
    try:
        value = strict_json(text)
    except ValueError:
        try:
            return [strict_json(line) for line in text.splitlines() if line.strip()]
        except ValueError as problem:
            raise ValueError(f"the <tools> of the system prompt are {problem}") from None
    return value if isinstance(value, list) else [value]


def _to_openai(row: Row, changes: Changes) -> Row:
    messages = tagged_messages(turns_of(row))
    return {**tools_from_prompt(messages, without(row, "conversations", "conversation"), changes), "messages": messages}


def _fits(row: Row) -> bool:
    turns = row.get("conversations")
    return isinstance(turns, list) and any(
        isinstance(turn, dict)
        and isinstance(turn.get("value"), str)
        and ("<tool_call>" in turn["value"] or "<tools>" in turn["value"])
        for turn in turns
    )


HERMES = Form("hermes", ("conversations", "from", "value", "<tool_call>"), _fits, _to_openai)
