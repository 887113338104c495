"""The OpenAPI document: what FastAPI makes of the routes, with what it cannot know put right and added."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from http import HTTPStatus
from typing import NamedTuple

from fastapi import FastAPI
from pydantic import BaseModel
from pydantic.json_schema import JsonSchemaMode, models_json_schema

from api import bodies, errors, examples, webhook_examples, webhooks
from api.auth import scope_of
from schemas.jsons import JsonObject
from schemas.webhooks import BODIES

TITLE = "Greenroom"
DESCRIPTION = """\
Realtime avatars on your own machines: your voice agent asks for an avatar with one call, and a worker joins \
**your own** LiveKit room, hears the agent and publishes a talking face.

Send `Authorization: Bearer sk_…`. Times are UTC with milliseconds and `Z`; ids are a prefix and a ULID. Every answer \
that is not 2xx has the same envelope: switch on its `code`. Every answer has an `X-Request-Id`.
"""
TAGS = {
    "Sessions": "An avatar in a room: created, watched, ended, looked back at.",
    "Events": "Everything that your account is told of, in one order: to read, to wait for, to follow.",
    "Avatars": "Faces: the stock ones, and those that are built from your portraits.",
    "Webhooks": "Where you are told of what happens.",
    "Account": "Whom the key speaks for, what is allowed, what was used.",
    "Status": "Whether the system works.",
    webhooks.TAG: "What is sent to your endpoints, signed as Standard Webhooks are. A session's come in order while"
    " deliveries succeed; each is sent until it is received, so it may come twice.",
}

_REFERENCE = "#/components/schemas/{model}"
_OF_FASTAPI = ("HTTPValidationError", "ValidationError")
_KEY = "An API key, `sk_…`. What it must be allowed to do is each operation's `x-scope`; write contains read."
_HEADERS = {
    "X-Request-Id": {"description": "Ours, in every answer: quote it.", "schema": {"type": "string"}},
    "Retry-After": {"description": "Whole seconds, 10 at most.", "schema": {"type": "integer", "minimum": 1}},
}
_RETRIED = ("429", "503")
_REQUESTS = {**examples.REQUESTS, **webhook_examples.REQUESTS}
_ANSWERS = {**examples.ANSWERS, **webhook_examples.ANSWERS}


class Operation(NamedTuple):
    method: str
    path: str
    told: JsonObject


def operations(made: JsonObject) -> Iterator[Operation]:
    """Of the document, in its order."""
    for path, methods in made["paths"].items():
        for method, told in methods.items():
            yield Operation(method.upper(), path, told)


def document(app: FastAPI) -> JsonObject:
    """Made once per process."""
    if app.openapi_schema is None:
        app.openapi_schema = _put_right(FastAPI.openapi(app))
    return app.openapi_schema


def _put_right(made: JsonObject) -> JsonObject:
    for operation in operations(made):
        if operation.told.get("security") != []:
            operation.told["x-scope"] = scope_of(operation.told["tags"], operation.method)
        _drop_other_envelopes(operation.told["responses"])
        for parameter in operation.told.get("parameters", []):
            parameter["schema"] = _without_null(parameter["schema"])
        _exemplify(operation.told)
        _describe(operation.told["responses"])
    made["webhooks"] = webhooks.documented()
    made["tags"] = [{"name": name, "description": text} for name, text in TAGS.items()]
    components = made["components"]
    for name in _OF_FASTAPI:
        components["schemas"].pop(name, None)
    # Bodies are read by the routes themselves, and deliveries are no routes: their models are not FastAPI's to find.
    components["schemas"].update(_schemas(BODIES, "serialization"))
    for schema in components["schemas"].values():  # all of them of what we send: a default is sent, too
        schema["required"] = list(schema["properties"])
    components["schemas"].update(_schemas(bodies.documented_models(), "validation"))
    components["headers"] = _HEADERS
    components["examples"] = dict(sorted(errors.examples.items()))
    components["securitySchemes"] = {"key": {"type": "http", "scheme": "bearer", "description": _KEY}}
    made["security"] = [{"key": []}]
    return made


def _schemas(models: Sequence[type[BaseModel]], mode: JsonSchemaMode) -> JsonObject:
    _, definitions = models_json_schema([(model, mode) for model in models], ref_template=_REFERENCE)
    found: JsonObject = definitions["$defs"]
    return found


def _exemplify(operation: JsonObject) -> None:
    name = operation["operationId"]
    if name in _REQUESTS:
        for content in operation["requestBody"]["content"].values():
            content["example"] = _REQUESTS[name]
    if name in _ANSWERS:
        answers = operation["responses"]
        main = answers[max(status for status in answers if status < "300" and "content" in answers[status])]
        main["content"]["application/json"]["example"] = examples.shown(_ANSWERS[name])


def _describe(responses: JsonObject) -> None:
    for status, answer in responses.items():
        if answer["description"] == "Successful Response":
            answer["description"] = HTTPStatus(int(status)).phrase
        names = ["X-Request-Id", *(["Retry-After"] if status in _RETRIED else [])]
        answer["headers"] = {name: {"$ref": f"#/components/headers/{name}"} for name in names}


def _drop_other_envelopes(responses: JsonObject) -> None:
    """FastAPI adds a 422 of its own form to whatever has a parameter. Those that can happen are documented as ours."""
    content = responses.get("422", {}).get("content", {}).get("application/json", {})
    if content.get("schema", {}).get("$ref", "").endswith(_OF_FASTAPI):
        del responses["422"]


def _without_null(schema: JsonObject) -> JsonObject:
    """A query cannot say null: a parameter that may be left out is not one that may be null."""
    one_of = [each for each in schema.get("anyOf", []) if each != {"type": "null"}]
    if len(one_of) != 1:
        return schema
    return {**one_of[0], **{name: value for name, value in schema.items() if name != "anyOf"}}
