"""docs/reference/event-types.md: every type of the log, by topic, of the AsyncAPI document and the JSON Schemas."""

from __future__ import annotations

import json
from collections.abc import Iterator

from schemas.events import SUBSCRIBABLE
from schemas.jsons import JsonObject
from tools.pages import ROOT
from tools.shapes import fields
from tools.tables import cell

_FOLDER = ROOT / "schemas"
_HEAD = "| field | type | required | what |\n| --- | --- | --- | --- |"


def page() -> str:
    document: JsonObject = json.loads((_FOLDER / "asyncapi.json").read_text())
    return "\n".join([*_envelope(document), *_topics(document)])


def _envelope(document: JsonObject) -> Iterator[str]:
    envelope = document["components"]["schemas"]["envelope"]
    yield f"## Envelope\n\nHeaders of each record, CloudEvents 1.0 in Kafka's binary mode.\n\n{_HEAD}"
    yield from fields(envelope, {})


def _topics(document: JsonObject) -> Iterator[str]:
    messages = document["components"]["messages"]
    for topic, channel in sorted(document["channels"].items()):
        yield f"\n## {topic}"
        for name in channel["messages"]:
            yield from _type(name, messages[name]["payload"]["$ref"].removeprefix("./"))


def _type(name: str, file: str) -> Iterator[str]:
    schema: JsonObject = json.loads((_FOLDER / file).read_text())
    defs: dict[str, JsonObject] = schema.get("$defs", {})
    main = defs[schema["$ref"].rsplit("/", 1)[-1]] if "$ref" in schema else schema
    told = cell(str(main.get("description", "")))
    hook = " Told to webhooks and in the feed." if name in SUBSCRIBABLE else ""
    yield f"\n### {name}\n\n{told}{hook} [JSON Schema](../../schemas/{file})"
    if main.get("properties"):
        yield f"\n{_HEAD}"
        yield from fields(main, defs)
    for inner, shape in defs.items():
        if shape is not main and shape.get("properties"):
            yield f"\n`{inner}`: {cell(str(shape.get('description', '')))}\n\n{_HEAD}"
            yield from fields(shape, defs)
