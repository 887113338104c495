"""The span of a create, from its arrival to its answer. Everything else of the session's trace follows from it."""

from __future__ import annotations

import structlog
from starlette.requests import Request

from api.errors import ApiError, label
from events import tracing
from events.tracing import Span
from schemas.jsons import JsonObject
from schemas.logs import trace_fields

_HEADER = "traceparent"
_NAME = "POST /v1/sessions"
_ABOUT: tracing.About = {"http.request.method": "POST", "http.route": "/v1/sessions"}
_FAILED = 500

PARAMETER: JsonObject = {
    "name": _HEADER,
    "in": "header",
    "description": "W3C trace context. Where this server sends traces, the session's spans join it; what is none is"
    " ignored.",
    "schema": {"type": "string"},
    "example": "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
}


def asked(request: Request) -> Span:
    """Follows from the caller's `traceparent`, if there is exactly one and it is one."""
    if not tracing.on():
        return tracing.OFF
    sent = request.headers.getlist(_HEADER)
    parent = sent[0] if len(sent) == 1 else None
    span = tracing.begin(_NAME, parent, "server", _ABOUT, request.scope["greenroom.arrived_ns"])
    structlog.contextvars.bind_contextvars(**trace_fields(span.traceparent))  # of this request's task
    return span


def created(span: Span, session_id: str, replayed: bool) -> None:
    span.note({"greenroom.session_id": session_id, "greenroom.replayed": replayed, "http.response.status_code": 201})
    span.end()


def refused(span: Span, error: BaseException) -> None:
    """A refusal is the caller's matter; what is ours is marked as an error."""
    known = error if isinstance(error, ApiError) else ApiError()
    code = label(known)  # a code may name a field of the request, and that may be anything
    span.note({"http.response.status_code": known.status, "greenroom.error": code})
    span.end(code if known.status >= _FAILED else None)
