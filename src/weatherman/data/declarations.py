"""Tool declarations as other files write them -> the one form that templates and schemas read.

Flat declarations are wrapped, bare parameters become an object's schema, Python's type names become JSON Schema's, and
the nulls that column stores pad rows with are removed. Each change is counted.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from weatherman.data.changes import Changes

_TYPES = {
    "str": "string",
    "int": "integer",
    "float": "number",
    "bool": "boolean",
    "dict": "object",
    "list": "array",
    "tuple": "array",
    "set": "array",
    "double": "number",
    "long": "integer",
    "none": "null",
}
_STANDARD = {"string", "integer", "number", "boolean", "object", "array", "null"}
_GENERIC = re.compile(r"(list|set|tuple|dict|optional)\[(.*)\]", re.IGNORECASE)
_OF_OBJECTS = {
    "type", "properties", "$ref", "$defs", "definitions", "anyOf", "oneOf", "allOf", "not", "enum", "const", "required",
    "additionalProperties", "patternProperties", "propertyNames", "minProperties", "maxProperties", "$schema",
}  # fmt: skip
_MAPS = ("properties", "$defs", "definitions", "patternProperties", "dependentSchemas")
_LISTS = ("anyOf", "oneOf", "allOf", "prefixItems")
_SINGLE = (
    "items", "additionalProperties", "not", "if", "then", "else", "contains", "propertyNames", "unevaluatedProperties",
)  # fmt: skip
_PARAMETER_KEYS = ("parameters", "input_schema", "inputSchema")


def normalise_tool(tool: object, changes: Changes) -> object:
    """Bring one declaration into the form ``{"type": "function", "function": {...}}``.

    Args:
        tool: the decoded JSON value; what is no declaration at all is given back as it is, to be refused by name.
        changes: counts what is changed.

    Returns:
        The declaration, without nulls.
    """
    if not isinstance(tool, dict):
        return tool
    if isinstance(tool.get("function"), dict):
        outer, function = tool, tool["function"]
    elif isinstance(tool.get("name"), str):
        changes.add("tools-wrapped")
        outer, function = {"type": "function"}, {key: value for key, value in tool.items() if key != "type"}
    else:
        return tool
    function = _without_nulls(function, changes)
    for key in _PARAMETER_KEYS[1:]:
        if key in function and "parameters" not in function:
            function = {("parameters" if name == key else name): value for name, value in function.items()}
    if isinstance(function.get("parameters"), dict):
        function["parameters"] = normalise_parameters(function["parameters"], changes)
    return {**_without_nulls(outer, changes), "function": function}


def _without_nulls(values: Mapping[str, Any], changes: Changes) -> dict[str, Any]:
    kept = {key: value for key, value in values.items() if value is not None}
    changes.add("null-padding", len(values) - len(kept))
    return kept


def normalise_parameters(schema: dict[str, Any], changes: Changes) -> dict[str, Any]:
    """A tool's parameters as a JSON Schema of an object.

    Args:
        schema: as the file has it: a schema, or only its properties by name.
        changes: counts what is changed.
    """
    if _is_bare(schema):
        changes.add("parameters-wrapped")
        properties = {name: value for name, value in schema.items() if value is not None}
        required = [name for name, value in properties.items() if _is_required(value)]
        bare = {name: _without_required(value) for name, value in properties.items()}
        schema = {"type": "object", "properties": bare, "required": required}
    return _normalised(schema, changes)


def _is_bare(schema: Mapping[str, Any]) -> bool:
    """Whether it is properties without the schema around them: each value a schema, and no keyword among the names."""
    values = [value for value in schema.values() if value is not None]
    if not values or not all(isinstance(value, dict) for value in values):
        return False
    return not has_keyword({key: value for key, value in schema.items() if key != "type"})


def has_keyword(schema: Mapping[str, Any]) -> bool:
    """Whether a mapping has a key that says something about an object; without one it checks nothing."""
    return not _OF_OBJECTS.isdisjoint(schema)


def _is_required(schema: Mapping[str, Any]) -> bool:
    if isinstance(schema.get("required"), bool):
        return bool(schema["required"])
    kind = schema.get("type")
    optional = isinstance(kind, str) and ("optional" in kind.lower())
    return not optional and schema.get("default") is None


def _without_required(schema: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in schema.items() if key != "required" or not isinstance(value, bool)}


def _normalised(schema: Any, changes: Changes) -> Any:
    """A schema without padding and with standard type names, at every depth."""
    if not isinstance(schema, dict):
        return schema
    found: dict[str, Any] = {}
    for key, value in schema.items():
        if value is None and not (key in ("const", "default") and _admits_null(schema)):
            changes.add("null-padding")
        elif key in _MAPS and isinstance(value, dict):
            inner = {name: one for name, one in value.items() if one is not None}
            changes.add("null-padding", len(value) - len(inner))
            found[key] = {name: _normalised(one, changes) for name, one in inner.items()}
        elif key in _LISTS and isinstance(value, list):
            found[key] = [_normalised(one, changes) for one in value]
        elif key in _SINGLE:
            found[key] = _normalised(value, changes)
        else:
            found[key] = value
    return _with_standard_type(found, changes)


def _admits_null(schema: Mapping[str, Any]) -> bool:
    kind = schema.get("type")
    kinds = kind if isinstance(kind, list) else [kind]
    variants = [one for key in ("anyOf", "oneOf") for one in schema.get(key) or () if isinstance(one, dict)]
    if kind is None and not variants:
        return schema.get("enum") is None or None in (schema.get("enum") or ())
    return "null" in kinds or any(_admits_null(one) for one in variants)


def _with_standard_type(schema: dict[str, Any], changes: Changes) -> dict[str, Any]:
    kind = schema.get("type")
    if not isinstance(kind, str) or kind in _STANDARD:
        return schema
    named = _type_of(kind)
    if named is None:
        return schema  # refused by name where the schema is checked
    changes.add("types-renamed")
    rest = {key: value for key, value in schema.items() if key != "type"}
    return {**named, **rest}


def _type_of(name: str) -> dict[str, Any] | None:
    """Python's name of a type as a schema, e.g. ``List[int]``; None if it is not known."""
    name = re.sub(r",?\s*optional\s*$", "", name.strip(), flags=re.IGNORECASE).strip()
    if name.lower() in _STANDARD:
        return {"type": name.lower()}
    if name.lower() in _TYPES:
        return {"type": _TYPES[name.lower()]}
    if name.lower() in ("any", "object or array", ""):
        return {}
    generic = _GENERIC.fullmatch(name)
    if generic is None:
        return None
    outer, inner = generic[1].lower(), generic[2]
    if outer == "optional":
        return _type_of(inner)
    if outer == "dict":
        return {"type": "object"}
    item = _type_of(inner) if "," not in inner or "[" in inner else None
    return {"type": "array", **({"items": item} if item else {})}
