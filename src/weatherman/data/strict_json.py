"""JSON as the standard has it: no NaN, no key given twice, no number that overflows, no bottomless nesting."""

from __future__ import annotations

import json
from typing import Any

MAX_DEPTH = 100
_MAX_SHOWN = 40


def strict_json(text: str) -> Any:
    """Decode one JSON value.

    Args:
        text: the whole document.

    Returns:
        The value; every float in it is finite.

    Raises:
        ValueError: it is not JSON, or not strictly so; the message is made for the user and names the column if known.
    """
    try:
        value = json.loads(
            text,
            object_pairs_hook=_no_duplicates,
            parse_constant=_refuse_constant,
            parse_float=_finite,
            parse_int=_integer,
        )
    except json.JSONDecodeError as problem:
        raise ValueError(f"not JSON at column {problem.pos + 1}: {problem.msg}") from None
    except RecursionError:
        raise ValueError(f"nested deeper than {MAX_DEPTH} levels") from None
    # Depth costs a walk, so it is measured only where there are brackets enough for it.
    if text.count("{") + text.count("[") > MAX_DEPTH and _deeper_than(value, MAX_DEPTH):
        raise ValueError(f"nested deeper than {MAX_DEPTH} levels")
    return value


def unreadable_character(text: str) -> str | None:
    """Find half of a surrogate pair in a text, which no tokenizer can read: its code, e.g. ``U+D83C``, or None."""
    try:
        text.encode("utf-8")
    except UnicodeEncodeError as problem:
        return f"U+{ord(text[problem.start]):04X}"
    return None


def _deeper_than(value: Any, depth: int) -> bool:
    level = [value]
    for _ in range(depth + 1):
        children: list[Any] = []
        for item in level:
            if isinstance(item, dict):
                children.extend(item.values())
            elif isinstance(item, list):
                children.extend(item)
        if not children:
            return False
        level = children
    return True


def _no_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    values = dict(pairs)
    if len(values) != len(pairs):
        seen: set[str] = set()
        twice = next(key for key, _ in pairs if key in seen or seen.add(key))  # type: ignore[func-returns-value]
        raise ValueError(f"the key {json.dumps(twice[:_MAX_SHOWN])} is given twice in one object")
    return values


def _refuse_constant(name: str) -> Any:
    raise ValueError(f"{name} is not JSON")


def _finite(text: str) -> float:
    value = float(text)
    if value in (float("inf"), float("-inf")):
        raise ValueError(f"the number {text[:_MAX_SHOWN]} is too large")
    return value


def _integer(text: str) -> int:
    if len(text) > _MAX_SHOWN:
        raise ValueError(f"the number {text[:_MAX_SHOWN]}… has {len(text)} digits")
    return int(text)
