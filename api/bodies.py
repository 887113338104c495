"""JSON bodies: read, bounded, parsed, validated, documented; one way for every endpoint that takes one."""

from __future__ import annotations

from typing import Any, TypeVar

import orjson
from fastapi import Request
from pydantic import BaseModel, ValidationError

from api.errors import BodyTooLarge, MalformedJson, Unprocessable, from_validation
from api.middleware import bounded
from schemas.jsons import JsonObject

MAX_BODY = 256 * 1024
MAX_MEMBERS = 2000
"""Members of all objects and arrays of a body. Each may cost a validation error, and those cost 4 to 15 µs each."""
_SURELY_FEWER = 2 * MAX_MEMBERS
"""A body of so few bytes cannot have more: a member takes a digit and a comma at least."""

M = TypeVar("M", bound=BaseModel)


async def read(request: Request) -> bytes:
    """The whole body. Raises BodyTooLarge as soon as that is known."""
    return b"".join([chunk async for chunk in bounded(request, MAX_BODY)])


def parse(raw: bytes) -> JsonObject:
    """Raises MalformedJson, BodyTooLarge, or Unprocessable for what is no object."""
    try:
        content = orjson.loads(raw)
    except orjson.JSONDecodeError:
        raise MalformedJson from None
    if not isinstance(content, dict):
        raise Unprocessable("The body must be a JSON object.", code="body.invalid_type")
    if len(raw) > _SURELY_FEWER and _has_too_many_members(content):
        raise BodyTooLarge(f"The body has more than {MAX_MEMBERS} fields and items. Send less.")
    return content


def validate(content: JsonObject, model: type[M]) -> M:
    """Raises Unprocessable with the first problem in field order."""
    try:
        return model.model_validate(content)
    except ValidationError as failed:
        raise from_validation(failed) from None


_documented: set[type[BaseModel]] = set()


def documented(model: type[BaseModel], *, required: bool = True) -> JsonObject:
    """For `openapi_extra=`. The schema itself is put among the document's components by `api.openapi`."""
    _documented.add(model)
    reference = {"$ref": f"#/components/schemas/{model.__name__}"}
    return {"requestBody": {"required": required, "content": {"application/json": {"schema": reference}}}}


def documented_models() -> list[type[BaseModel]]:
    return sorted(_documented, key=lambda model: model.__name__)


def _has_too_many_members(content: JsonObject) -> bool:
    """Not recursive: a body may be a thousand levels deep."""
    count, todo = 0, list[Any]([content])
    while todo:
        each = todo.pop()
        count += len(each)
        if count > MAX_MEMBERS:
            return True
        todo += [
            inner for inner in (each.values() if isinstance(each, dict) else each) if isinstance(inner, dict | list)
        ]
    return False
