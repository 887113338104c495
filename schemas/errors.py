"""The wire format of every non-2xx answer."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel

ErrorType = Literal[
    "invalid_request",
    "authentication",
    "quota_exceeded",
    "permission",
    "not_found",
    "conflict",
    "unprocessable",
    "rate_limit",
    "internal",
    "service_unavailable",
]


class ErrorBody(BaseModel):
    """`code` is stable: switch on it. `message` is for people and may change. `param`: the request's dotted path."""

    type: ErrorType
    code: str
    message: str
    param: str | None
    request_id: str


class ErrorEnvelope(BaseModel):
    error: ErrorBody
