"""The OpenAPI document: what FastAPI makes of the routes, with what it cannot know put right."""

from __future__ import annotations

from fastapi import FastAPI
from pydantic.json_schema import models_json_schema

from api import bodies
from api.auth import scope_of
from schemas.jsons import JsonObject

_REFERENCE = "#/components/schemas/{model}"
_OF_FASTAPI = ("HTTPValidationError", "ValidationError")


def document(app: FastAPI) -> JsonObject:
    """Made once per process."""
    if app.openapi_schema is None:
        app.openapi_schema = _put_right(FastAPI.openapi(app))
    return app.openapi_schema


def _put_right(made: JsonObject) -> JsonObject:
    for path in made["paths"].values():
        for method, operation in path.items():
            if operation.get("security") != []:
                operation["x-scope"] = scope_of(operation["tags"], method.upper())
            _drop_other_envelopes(operation["responses"])
            for parameter in operation.get("parameters", []):
                parameter["schema"] = _without_null(parameter["schema"])
    components = made["components"]
    for name in _OF_FASTAPI:
        components["schemas"].pop(name, None)
    # Bodies are read by the routes themselves, so their models are not FastAPI's to find.
    requests = [(model, "validation") for model in bodies.documented_models()]
    _, definitions = models_json_schema(requests, ref_template=_REFERENCE)  # type: ignore[arg-type]
    components["schemas"].update(definitions["$defs"])
    components["securitySchemes"] = {"key": {"type": "http", "scheme": "bearer", "description": "`sk_…`"}}
    made["security"] = [{"key": []}]
    return made


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
