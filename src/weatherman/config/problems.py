"""Say what is wrong with a configuration's value, and what is allowed, in words that come from the schema itself."""

from __future__ import annotations

import difflib
import json
from collections.abc import Iterable, Mapping
from typing import Any

from weatherman.errors import WeathermanError

_MAX_SHOWN = 80
_KINDS = {"integer": "a whole number", "number": "a number", "boolean": "true or false"}


def allowed_values(schema: Mapping[str, Any]) -> str:
    """Put what a key may hold in words.

    Args:
        schema: the key's JSON schema, as pydantic writes it.

    Returns:
        For example `a whole number from 8 to 64` or `one of auto, on, off`.
    """
    if "anyOf" in schema:
        return " or ".join(allowed_values(one) for one in schema["anyOf"])
    if "enum" in schema:
        return f"one of {', '.join(schema['enum'])}"
    if "const" in schema:
        return str(schema["const"])
    if schema["type"] == "object":
        return "names with a number, a text, true or false"
    if schema["type"] == "null":
        return "null"
    if schema["type"] == "array":
        return _list_in_words(schema)
    if schema["type"] == "string":
        return f"{schema['x-allowed']}, at most {schema['maxLength']:,} characters"
    return _KINDS[schema["type"]] + _range_in_words(schema)


def _list_in_words(schema: Mapping[str, Any]) -> str:
    least, most = schema.get("minItems", 0), schema["maxItems"]
    items = schema["items"]
    what = f"of {', '.join(items['enum'])}" if "enum" in items else f"items, each {allowed_values(items)}"
    return f"a list of {f'{least} to ' if least else 'at most '}{most} {what}"


def _range_in_words(schema: Mapping[str, Any]) -> str:
    if "minimum" in schema and "maximum" in schema:
        return f" from {schema['minimum']:g} to {schema['maximum']:.10g}"
    above = f" above {schema['exclusiveMinimum']:g}" if "exclusiveMinimum" in schema else ""
    least = f" of at least {schema['minimum']:g}" if "minimum" in schema else ""
    most = f" up to {schema['maximum']:g}" if "maximum" in schema else ""
    below = f" below {schema['exclusiveMaximum']:g}" if "exclusiveMaximum" in schema else ""
    return " and".join(part for part in (above + least, most + below) if part)


def describe(error: Mapping[str, Any], place: str, schema: Mapping[str, Any], *, given: bool) -> WeathermanError:
    """Turn one of pydantic's errors into: place, value, what is wrong, what is allowed.

    Args:
        error: one item of `ValidationError.errors()`.
        place: where the value was written, e.g. `demo.yaml:12 lora_r` or `--set lora_r=128`.
        schema: the whole model's JSON schema.
        given: false when `place` shows the value already.

    Returns:
        The problem.
    """
    key = str(error["loc"][0])
    fields = schema["properties"]
    if error["type"] == "extra_forbidden":
        text = f"{place}: unknown key{did_you_mean(key, fields) or '.'}"
        return WeathermanError("config.unknown-key", text, "docs/CONFIG.md lists the keys.")
    value, item = error["input"], error["loc"][1] if len(error["loc"]) > 1 else None
    shown = f": {_shown(value)}" if given or item is not None else ""
    own = f" ({str(error['msg']).removeprefix('Value error, ')})" if error["type"] == "value_error" else ""
    meant = did_you_mean(value, _words(fields[key])) if isinstance(value, str) and not own else ""
    text = f"{place}{shown} is not allowed{own}{meant or ';'} allowed: {allowed_values(fields[key])}."
    return WeathermanError("config.value", text)


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """`, did you mean X?` for the known word that is closest to a wrong one; empty if none is close."""
    close = difflib.get_close_matches(word.lower(), list(known), n=1)
    return f", did you mean {close[0]}?" if close else ""


def _words(schema: Mapping[str, Any]) -> list[str]:
    return list(schema.get("enum") or schema.get("items", {}).get("enum", []))


def _shown(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=False, default=str)
    return text if len(text) <= _MAX_SHOWN else text[: _MAX_SHOWN - 1] + "…"
