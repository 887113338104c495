"""A JSON Schema in words, for the tables of pages."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from schemas.jsons import JsonObject
from tools.tables import cell

_BOUNDS = {
    "minimum": "≥ {}",
    "exclusiveMinimum": "> {}",
    "maximum": "≤ {}",
    "minLength": "at least {} characters",
    "maxLength": "at most {} characters",
    "minItems": "at least {}",
    "maxItems": "at most {}",
}


def fields(schema: JsonObject, defs: Mapping[str, JsonObject]) -> Iterator[str]:
    """A row of a table for each property: name, type, whether it must be there, what it is."""
    required = schema.get("required", [])
    for name, field in schema.get("properties", {}).items():
        must = "yes" if name in required else ""
        yield f"| `{name}` | {cell(words(field, defs))} | {must} | {cell(about(field, defs))} |"


def words(schema: JsonObject, defs: Mapping[str, JsonObject]) -> str:
    """The type: `string`, one of `a`, `b`, a list of …, a name of `defs`."""
    if "$ref" in schema:
        name = str(schema["$ref"]).rsplit("/", 1)[-1]
        target = defs[name]
        return f"{name}" if "properties" in target else words(target, defs)
    if "const" in schema:
        return f"`{schema['const']}`"
    if "enum" in schema:
        return ", ".join(f"`{value}`" for value in schema["enum"])
    if either := schema.get("anyOf") or schema.get("oneOf"):
        return " or ".join(dict.fromkeys(words(one, defs) for one in either))
    if schema.get("type") == "array":  # a tuple has its items one by one, and no others
        items = schema.get("prefixItems") or [schema.get("items") or {}]
        return f"list of {', '.join(words(one, defs) for one in items)}"
    kind = schema.get("type", "any")
    bounds = [text.format(schema[key]) for key, text in _BOUNDS.items() if key in schema]
    if "format" in schema:
        bounds.insert(0, str(schema["format"]))
    named = " or ".join(kind) if isinstance(kind, list) else str(kind)
    return f"{named} ({', '.join(bounds)})" if bounds else named


def about(schema: JsonObject, defs: Mapping[str, JsonObject]) -> str:
    """Its description, and its default where it says something."""
    told = [str(schema["description"])] if "description" in schema else []
    if not told and "$ref" not in schema:
        told = [str(one["description"]) for one in schema.get("anyOf", []) if "description" in one]
    if schema.get("default") not in (None, "", [], {}):
        told.append(f"Default: `{schema['default']}`.")
    return " ".join(told)
