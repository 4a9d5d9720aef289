"""The part of JSON Schema that the tests use, checked by hand."""

from __future__ import annotations

import re
from typing import Any

_KINDS: dict[str, type | tuple[type, ...]] = {
    "object": dict,
    "array": list,
    "string": str,
    "boolean": bool,
    "null": type(None),
    "integer": int,
    "number": (int, float),
}


def misfit(value: Any, schema: dict[str, Any], root: dict[str, Any] | None = None) -> str:
    """Why a value does not fit a schema; "" if it does. Knows the keywords that the tests' schemas use."""
    root = root or schema
    if "$ref" in schema:
        return misfit(value, root["$defs"][schema["$ref"].removeprefix("#/$defs/")], root)
    if "anyOf" in schema:
        return "" if any(not misfit(value, one, root) for one in schema["anyOf"]) else f"{value!r} fits none of anyOf"
    if "enum" in schema and value not in schema["enum"]:
        return f"{value!r} is none of {schema['enum']}"
    kind = schema.get("type")
    is_number = isinstance(value, (int, float)) and not isinstance(value, bool)
    if kind and (not isinstance(value, _KINDS[kind]) or (kind in ("integer", "number") and not is_number)):
        return f"{value!r} is no {kind}"
    if isinstance(value, str):
        if len(value) > schema.get("maxLength", len(value)):
            return f"{value!r} is too long"
        if "pattern" in schema and not re.search(schema["pattern"], value):
            return f"{value!r} does not match {schema['pattern']}"
    if is_number and not schema.get("minimum", value) <= value <= schema.get("maximum", value):
        return f"{value!r} is out of range"
    if isinstance(value, list):
        if not schema.get("minItems", 0) <= len(value) <= schema.get("maxItems", len(value)):
            return f"{len(value)} items"
        return next((wrong for item in value if (wrong := misfit(item, schema.get("items", {}), root))), "")
    if isinstance(value, dict):
        missing = [key for key in schema.get("required", ()) if key not in value]
        if missing:
            return f"{missing[0]} is missing"
        known = schema.get("properties", {})
        for key, item in value.items():
            if key not in known and schema.get("additionalProperties") is False:
                return f"{key!r} is not known"
            if wrong := misfit(item, known.get(key, {}), root):
                return wrong
    return ""
