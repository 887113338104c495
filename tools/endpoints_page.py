"""docs/reference/endpoints.md: every operation of the OpenAPI document, with its fields, answers and errors."""

from __future__ import annotations

import json
from collections.abc import Iterator

from schemas.jsons import JsonObject
from tools.pages import ROOT
from tools.shapes import about, fields, words
from tools.tables import cell

_HEAD = "| field | type | required | what |\n| --- | --- | --- | --- |"
_METHODS = ("get", "post", "put", "patch", "delete")


def page() -> str:
    """Markdown: a section for each tag, in the document's order, then the shapes that several of them share."""
    document: JsonObject = json.loads((ROOT / "schemas" / "openapi.json").read_text())
    return "\n".join([*_index(document), *_tags(document), *_shapes(document)])


def _operations(document: JsonObject) -> Iterator[tuple[str, str, JsonObject]]:
    for path, item in document["paths"].items():
        for method in _METHODS:
            if method in item:
                yield path, method, item[method]


def _index(document: JsonObject) -> Iterator[str]:
    yield "| | | scope |\n| --- | --- | --- |"
    for path, method, operation in _operations(document):
        scope = f"`{operation['x-scope']}`" if "x-scope" in operation else ""
        anchor = _anchor(operation["summary"])
        yield f"| [{operation['summary']}](#{anchor}) | `{method.upper()} {path}` | {scope} |"


def _anchor(heading: str) -> str:
    """As the usual viewers make them."""
    kept = "".join(letter for letter in heading.lower() if letter.isalnum() or letter in "-_ ")
    return kept.replace(" ", "-")


def _tags(document: JsonObject) -> Iterator[str]:
    for tag in document["tags"]:
        found = [each for each in _operations(document) if tag["name"] in each[2]["tags"]]
        if not found:
            continue  # a tag of webhooks alone
        yield f"\n## {tag['name']}\n\n{tag['description']}"
        for path, method, operation in found:
            yield from _operation(document, path, method, operation)


def _operation(document: JsonObject, path: str, method: str, operation: JsonObject) -> Iterator[str]:
    shapes = document["components"]["schemas"]
    yield f"\n### {operation['summary']}\n\n`{method.upper()} {path}`\n\n{operation.get('description', '').strip()}"
    if parameters := operation.get("parameters"):
        yield "\n| parameter | in | type | required | what |\n| --- | --- | --- | --- | --- |"
        for one in parameters:
            told = one.get("description") or about(one["schema"], shapes)
            must = "yes" if one.get("required") else ""
            kind = cell(words(one["schema"], shapes))
            yield f"| `{one['name']}` | {one['in']} | {kind} | {must} | {cell(told)} |"
    for kind, content in operation.get("requestBody", {}).get("content", {}).items():
        yield f"\nBody, `{kind}`:\n\n{_HEAD}"
        yield from fields(_resolved(content["schema"], document), shapes)
        yield from _example(content)
    yield "\n| answer | what |\n| --- | --- |"
    for status, answer in operation["responses"].items():
        yield f"| {status} | {cell(answer['description'])} |"
    for status, answer in operation["responses"].items():
        if status.startswith("2"):
            yield from _example(answer.get("content", {}).get("application/json", {}))


def _example(content: JsonObject) -> Iterator[str]:
    if "example" in content:
        yield f"\n```json\n{json.dumps(content['example'], indent=2, ensure_ascii=False)}\n```"


def _resolved(schema: JsonObject, document: JsonObject) -> JsonObject:
    if "$ref" in schema:
        found: JsonObject = document["components"]["schemas"][schema["$ref"].rsplit("/", 1)[-1]]
        return found
    return schema


def _shapes(document: JsonObject) -> Iterator[str]:
    yield "\n## Shapes\n\nWhat answers and bodies are made of."
    shapes = document["components"]["schemas"]
    for name, schema in sorted(shapes.items()):
        if "properties" in schema:
            told = " ".join(str(schema.get("description", "")).split())
            yield f"\n### {name}\n\n{told}\n\n{_HEAD}"
            yield from fields(schema, shapes)
