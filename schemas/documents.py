"""The published documents, generated from the structs: JSON Schema per event version, and one AsyncAPI 3 document."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import msgspec
import orjson

from schemas.events import CATALOGUE
from schemas.jsons import JsonObject

FOLDER = Path(__file__).parent
OPENAPI = FOLDER / "openapi.json"
"""Made of the routes, so by `api.openapi`."""
_HEADERS = {
    "type": "object",
    "required": ["ce_specversion", "ce_id", "ce_type", "ce_source", "ce_subject", "ce_time", "ce_dataschema"],
    "properties": {
        "ce_specversion": {"const": "1.0"},
        "content-type": {"const": "application/json"},
        "ce_id": {
            "type": "string",
            "description": "evt_ and a ULID, of usage.recorded the entry's own; the same when it is sent again",
        },
        "ce_type": {"type": "string"},
        "ce_source": {"type": "string"},
        "ce_subject": {"type": "string", "description": "the record's key"},
        "ce_time": {"type": "string", "format": "date-time"},
        "ce_dataschema": {"type": "string", "description": "urn:greenroom:<type>:<version>"},
        "ce_account": {"type": "string"},
        "ce_causation": {"type": "string"},
        "ce_correlation": {"type": "string", "description": "the id of the request that caused it"},
        "ce_traceparent": {"type": "string"},
    },
}


def documents() -> Iterator[tuple[Path, bytes]]:
    """(path, content) of each, as they must be committed."""
    for name, known in CATALOGUE.items():
        yield FOLDER / "json" / f"{name}.{known.version}.json", _dump(_schema(name, known.version, known.struct))
    yield FOLDER / "asyncapi.json", _dump(_asyncapi())


def _schema(name: str, version: int, struct: type[msgspec.Struct]) -> JsonObject:
    head = {"$schema": "https://json-schema.org/draft/2020-12/schema", "$id": f"urn:greenroom:{name}:{version}"}
    return {**head, **msgspec.json.schema(struct)}


def _asyncapi() -> JsonObject:
    topics = sorted({known.topic for known in CATALOGUE.values()})
    messages = {
        name: {
            "name": name,
            "contentType": "application/json",
            "headers": {"$ref": "#/components/schemas/envelope"},
            "payload": {"$ref": f"./json/{name}.{known.version}.json"},
        }
        for name, known in CATALOGUE.items()
    }
    return {
        "asyncapi": "3.0.0",
        "info": {"title": "Greenroom", "version": "1", "description": "CloudEvents 1.0, Kafka binary mode."},
        "channels": {
            topic: {
                "address": topic,
                "messages": {
                    name: {"$ref": f"#/components/messages/{name}"}
                    for name, known in CATALOGUE.items()
                    if known.topic == topic
                },
            }
            for topic in topics
        },
        "operations": {
            f"receive {topic}": {"action": "receive", "channel": {"$ref": f"#/channels/{topic.replace('/', '~1')}"}}
            for topic in topics
        },
        "components": {"messages": messages, "schemas": {"envelope": _HEADERS}},
    }


def readable(document: JsonObject) -> bytes:
    """In the order in which it was put together."""
    return orjson.dumps(document, option=orjson.OPT_INDENT_2) + b"\n"


def _dump(document: JsonObject) -> bytes:
    return orjson.dumps(document, option=orjson.OPT_INDENT_2 | orjson.OPT_SORT_KEYS) + b"\n"
