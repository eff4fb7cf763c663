"""The arguments of a call: decoded as often as they were encoded, and without the nulls that pad columns."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from weatherman.data.changes import Changes
from weatherman.data.spelling import one_spelling
from weatherman.data.strict_json import strict_json

MAX_ENCODINGS = 3


def decode_arguments(raw: object, schema: Mapping[str, Any], changes: Changes) -> object:
    """Arguments as a JSON value, from text or object.

    Args:
        raw: the decoded value of `arguments`; None is a call without any.
        schema: the tool's parameters.
        changes: counts what is changed.

    Returns:
        An object if all is well; whatever it was otherwise.

    Raises:
        ValueError: text that is no JSON, or encoded more often than `MAX_ENCODINGS` times.
    """
    num_decoded = 0
    while isinstance(raw, str):
        if num_decoded == MAX_ENCODINGS:
            raise ValueError(f"JSON text within JSON text, more than {MAX_ENCODINGS} deep")
        raw = strict_json(raw or "{}")
        num_decoded += 1
    changes.add("arguments-decoded", int(num_decoded > 1))
    if raw is None:
        changes.add("null-padding")
        return {}
    if not isinstance(raw, dict):
        return raw
    kept = _without_padding(raw, schema, schema, changes, outermost=True)
    spelled = one_spelling(kept)
    changes.add("arguments-respelled", int(repr(spelled) != repr(kept)))
    return spelled


def _without_padding(
    value: dict[str, Any], schema: Mapping[str, Any], root: Mapping[str, Any], changes: Changes, *, outermost: bool
) -> dict[str, Any]:
    """Leave out nulls that the schema has no place for; a required key is kept, so that its null is refused by name."""
    schema = _followed(schema, root)
    properties = schema.get("properties")
    if not isinstance(properties, dict):
        if not outermost or schema.get("additionalProperties") or has_variants(schema):
            return value
        properties = {}
    required = schema.get("required") or ()
    open_ended = bool(schema.get("additionalProperties"))
    kept: dict[str, Any] = {}
    for key, item in value.items():
        own = properties.get(key)
        if item is not None:
            kept[key] = _inner(item, own, root, changes)
        elif (own is None and open_ended) or key in required or (own is not None and _takes_null(own, root)):
            kept[key] = None
        else:
            changes.add("null-padding")
    return kept


def has_variants(schema: Mapping[str, Any]) -> bool:
    """Whether a schema is made of others, so that no single list of properties is its own."""
    return any(key in schema for key in ("anyOf", "oneOf", "allOf"))


def _inner(item: Any, schema: Any, root: Mapping[str, Any], changes: Changes) -> Any:
    if not isinstance(schema, dict):
        return item
    schema = _followed(schema, root)
    if isinstance(item, dict):
        return _without_padding(item, schema, root, changes, outermost=False)
    if isinstance(item, list) and isinstance(schema.get("items"), dict):
        return [_inner(one, schema["items"], root, changes) for one in item]
    return item


def _followed(schema: Mapping[str, Any], root: Mapping[str, Any]) -> Mapping[str, Any]:
    """What a local reference stands for; the schema itself where there is none."""
    for _ in range(8):
        reference = schema.get("$ref")
        if not isinstance(reference, str) or not reference.startswith("#/"):
            return schema
        found: Any = root
        for part in reference[2:].split("/"):
            found = found.get(part) if isinstance(found, dict) else None
        if not isinstance(found, dict):
            return schema
        schema = found
    return schema


def _takes_null(schema: Any, root: Mapping[str, Any]) -> bool:
    if not isinstance(schema, dict):
        return bool(schema)
    schema = _followed(schema, root)
    kind = schema.get("type")
    if kind is not None:
        return kind == "null" or (isinstance(kind, list) and "null" in kind)
    if "enum" in schema:
        return None in schema["enum"]
    variants = [one for key in ("anyOf", "oneOf") for one in schema.get(key) or ()]
    return not variants or any(_takes_null(one, root) for one in variants)
