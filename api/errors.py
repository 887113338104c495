"""Every error that a caller can cause, with the status, code and advice that it answers."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from types import MappingProxyType

import orjson
from pydantic import ValidationError
from starlette.requests import Request
from starlette.responses import Response

from api import metrics
from schemas.errors import ErrorEnvelope, ErrorType
from schemas.jsons import JsonObject


class ApiError(Exception):
    """Base of all. Subclasses set the first three; instances may refine message and param."""

    status: int = 500
    type: ErrorType = "internal"
    code: str = "internal"
    message: str = "Something went wrong on our side. Retry, and quote the request id if it persists."
    param: str | None = None
    retry_after: int | None = None
    headers: Mapping[str, str] = MappingProxyType({})

    def __init__(self, message: str | None = None, *, code: str | None = None, param: str | None = None) -> None:
        self.message = message or self.message
        self.code = code or self.code
        self.param = param
        super().__init__(self.message)


class InvalidRequest(ApiError):
    status, type, code = 400, "invalid_request", "<parameter>.invalid"


class CursorExpired(InvalidRequest):
    code = "cursor.expired"
    message = (
        "What comes behind this position is no longer kept. Begin behind …; what you missed is in GET /v1/sessions."
    )

    def __init__(self, before_oldest: int) -> None:
        super().__init__(self.message.replace("…", str(before_oldest)), param="after")


class MalformedJson(InvalidRequest):
    code = "json.malformed"
    message = "The body is not valid JSON. Send a JSON object as UTF-8."


class HttpMalformed(InvalidRequest):
    code = "http.malformed"
    message = "This is not HTTP/1.1 as it is specified. The connection is closed; send the request again on a new one."


class TransportUnsupported(InvalidRequest):
    code = "transport.unsupported"


class AvatarNotDeletable(InvalidRequest):
    code = "avatar.not_deletable"
    message = "Stock avatars ship with the product and cannot be deleted."


class VerificationUnsupported(InvalidRequest):
    code = "verification.unsupported"
    message = (
        "This installation looks at no clips: its API lacks GREENROOM_MARK_KEYS, PyAV or OpenCV. Ask its operator;"
        " `greenroom verify` does it on the operator's machine."
    )


class MethodNotAllowed(ApiError):
    status, type, code = 405, "invalid_request", "method.not_allowed"
    message = "This path does not know this method. See /docs for the ones that it knows."


class RequestTimeout(ApiError):
    status, type, code = 408, "invalid_request", "request.timeout"
    message = "The request did not arrive in time: 10 s for its head, 60 s for its body. Send it again, faster."


class BodyTooLarge(ApiError):
    status, type, code = 413, "invalid_request", "body.too_large"
    message = "The body is larger than 256 KB, or than 10 MB for pictures, or than 32 MB for clips. Send less."


class UrlTooLong(ApiError):
    status, type, code = 414, "invalid_request", "request.url_too_long"
    message = "The URL is longer than 8 KB."


class HeadersTooLarge(ApiError):
    status, type, code = 431, "invalid_request", "request.headers_too_large"
    message = "The request has more than 100 headers or more than 32 KB of them."


class Unauthenticated(ApiError):
    status, type = 401, "authentication"


class KeyMissing(Unauthenticated):
    code = "api_key.missing"
    message = "Send your API key as 'Authorization: Bearer sk_…'."


class KeyInvalid(Unauthenticated):
    code = "api_key.invalid"
    message = "This API key is not known. Check that it was copied whole; `greenroom keys create` makes a new one."


class KeyRevoked(Unauthenticated):
    code = "api_key.revoked"
    message = "This API key was revoked. `greenroom keys create` makes a new one."


class NoCredits(ApiError):
    status, type, code = 402, "quota_exceeded", "insufficient_credit_balance"
    message = "Your account has no credits left: nothing new begins, and what runs is ended. Ask for more."


class CapReached(NoCredits):
    message = "The spending cap of this month (UTC) is reached. Raise it with PUT /v1/limits, or wait for the next."


class ScopeMissing(ApiError):
    status, type, code = 403, "permission", "scope.missing"
    message = "This key may not do that. `greenroom keys create --scope …` makes one that may."


class NotFound(ApiError):
    status, type = 404, "not_found"


class RouteNotFound(NotFound):
    code = "route.not_found"
    message = "There is nothing at this path. See /docs for the paths."


class SessionNotFound(NotFound):
    code = "session.not_found"
    message = "There is no such session in your account."


class ProofNotFound(NotFound):
    code = "session_proof.not_found"
    message = (
        "This session is in no sealed day yet. A day is sealed after midnight UTC, with the sessions that had ended."
    )


class AvatarNotFound(NotFound):
    code = "avatar.not_found"
    message = "There is no such avatar that your account can use. `av_demo` is there on every install."


class KeyNotFound(NotFound):
    code = "api_key.not_found"
    message = "There is no such key in your account. GET /v1/account says which one you ask with."


class EndpointNotFound(NotFound):
    code = "webhook_endpoint.not_found"
    message = "There is no such webhook endpoint in your account."


class DeliveryNotFound(NotFound):
    code = "webhook_delivery.not_found"
    message = "There is no such webhook delivery in your account; they are kept for 30 days."


class Conflict(ApiError):
    status, type = 409, "conflict"


class AvatarNotReady(Conflict):
    code = "avatar.not_ready"
    message = "This avatar is still being built. Poll GET /v1/avatars/{id} until its status is ready."


class KeyReused(Conflict):
    code = "idempotency_key.reused"
    message = "This Idempotency-Key was used with another body within 24 hours. Use a new key for a new request."


class Unprocessable(ApiError):
    status, type, code = 422, "unprocessable", "<field path>.<rule>"


class AvatarSlotsExceeded(ApiError):
    status, type, code = 429, "quota_exceeded", "avatar_slots"
    message = "Your plan's number of custom avatars is reached. Delete one, or ask for a larger plan."


class ConcurrencyExceeded(ApiError):
    status, type, code = 429, "quota_exceeded", "concurrent_sessions"
    message = "Your plan's number of concurrent sessions is reached. End one, or ask for a larger plan."


class RateLimited(ApiError):
    status, type, code = 429, "rate_limit", "rate_limited"
    message = (
        "This key has asked more often than it may. Wait for the given seconds; RateLimit-… headers say the limit."
    )

    def __init__(self, retry_s: float, headers: Mapping[str, str]) -> None:
        """`Retry-After` is 10 at most: clients sleep for whatever it says."""
        super().__init__()
        self.retry_after = min(10, max(1, math.ceil(retry_s)))
        self.headers = headers


class StreamsExceeded(ApiError):
    status, type, code = 429, "quota_exceeded", "concurrent_streams"
    message = "Your account has as many open streams and long polls as one server keeps. Close some."


class Unavailable(ApiError):
    status, type, retry_after = 503, "service_unavailable", 1


class Overloaded(Unavailable):
    code = "overloaded"
    message = "This server is working on as many requests as it can. Retry after the given seconds."


class AtCapacity(Unavailable):
    code = "at_capacity"
    message = "No worker has a free slot for this quality right now. Retry after the given seconds."


class HistoryBehind(Unavailable):
    code = "history.behind"
    message = "What is known of this session's past is still being written. Retry after the given seconds."


class LogUnavailable(Unavailable):
    code, retry_after = "log.unavailable", 2
    message = (
        "The event log did not acknowledge in time: what was asked for may still happen, or not. Asking again is safe."
        " Retry after the given seconds."
    )


class DatabaseUnavailable(Unavailable):
    code, retry_after = "database.unavailable", 2
    message = (
        "The database did not answer in time: what was asked for may have happened, or not."
        " Retry after the given seconds."
    )


class InFlight(Unavailable):
    code = "idempotency_key.in_flight"
    message = (
        "An earlier request with this key, this body or for this room and identity is still being worked on. "
        "Retry after the given seconds."
    )


class EndpointLimit(Conflict):
    code = "webhook_endpoint.limit"
    message = "Your account has its 16 webhook endpoints. Remove one first."


class ReplayUnderWay(Conflict):
    code = "webhook_endpoint.replaying"
    message = "A replay of your account is being put together. Ask again when it has been answered."


class EndpointDisabled(Conflict):
    code = "webhook_endpoint.disabled"
    message = "This webhook endpoint is disabled, so nothing is sent to it. Enable it first: PATCH `enabled: true`."


_RULES = {
    "missing": "required",
    "extra_forbidden": "unknown",
    "greater_than_equal": "too_small",
    "less_than_equal": "too_large",
    "string_too_short": "too_short",
    "too_short": "too_short",
    "string_too_long": "too_long",
    "too_long": "too_long",
    "too_large": "too_large",
}
_MOST_SHOWN = 128
_MOST_PROBLEMS = 100


def from_validation(failed: ValidationError) -> Unprocessable:
    """The first problem in field order."""
    problem = failed.errors(include_url=False, include_context=False, include_input=False)[0]
    return refused(problem["type"], problem["loc"], problem["msg"])


def every_problem(failed: ValidationError) -> list[Unprocessable]:
    """In field order."""
    found = failed.errors(include_url=False, include_context=False, include_input=False)
    return [refused(problem["type"], problem["loc"], problem["msg"]) for problem in found[:_MOST_PROBLEMS]]


def refused(problem: str, location: Sequence[int | str], message: str) -> Unprocessable:
    """One of pydantic's problems, as `<field path>.<rule>`; its param is the request's own dotted path."""
    path = ".".join(_shown(part) for part in location)
    rule = _RULES.get(problem, "invalid_type" if problem.endswith("_type") else "invalid")
    told = {
        "required": f"{path or 'The body'} is required.",
        "unknown": f"{path} is not a field of this request.",
    }.get(rule, f"{path or 'The body'}: {message}.")
    return Unprocessable(told, code=f"{path or 'body'}.{rule}", param=path or None)


def _shown(part: int | str) -> str:
    """A name that the caller made up may be as long as the body."""
    text = str(part)
    return text if len(text) <= _MOST_SHOWN else f"{text[:_MOST_SHOWN]}…"


def label(error: ApiError) -> str:
    """For metrics: the code of its class. One that names a field of the request is told as its type: few values."""
    code = type(error).code
    return error.type if "<" in code else code


def respond(error: ApiError, request_id: str) -> Response:
    metrics.ERRORS.labels(label(error)).inc()
    headers = dict(error.headers)
    if error.retry_after is not None:
        headers["Retry-After"] = str(error.retry_after)
    if isinstance(error, Unauthenticated):
        headers["WWW-Authenticate"] = "Bearer"
    body = orjson.dumps(_envelope(error, request_id))
    return Response(body, status_code=error.status, headers=headers, media_type="application/json")


def _envelope(error: ApiError | type[ApiError], request_id: str) -> JsonObject:
    told = {"type": error.type, "code": error.code, "message": error.message, "param": error.param}
    return {"error": {**told, "request_id": request_id}}


def request_id(request: Request) -> str:
    return str(request.scope["greenroom.request_id"])


_EVERYWHERE: tuple[type[ApiError], ...] = (
    HttpMalformed,
    InvalidRequest,
    RequestTimeout,
    UrlTooLong,
    HeadersTooLarge,
    ApiError,
    Overloaded,
)


examples: dict[str, JsonObject] = {}
"""Of every error that is documented anywhere, by its code."""

_EXAMPLE_REQUEST_ID = "req_01K8Z5Q2N4V6X8Z0B2D4F6H8J0"
_REFINED: Mapping[type[ApiError], ApiError] = {
    type(error): error
    for error in (
        InvalidRequest("starting_after is not a session id.", code="cursor.invalid", param="starting_after"),
        TransportUnsupported("transport.type=pipecat is reserved and not yet available.", param="transport.type"),
        Unprocessable(
            "max_duration_seconds: Input should be less than or equal to 3600.",
            code="max_duration_seconds.too_large",
            param="max_duration_seconds",
        ),
    )
}
"""Examples of those whose code and message the request decides."""


def documented(*errors: type[ApiError]) -> dict[int | str, JsonObject]:
    """For `responses=`: each status with the codes that it can carry, those of every request included."""
    found: dict[int, dict[str, type[ApiError]]] = {}
    for error in (*errors, *_EVERYWHERE):
        found.setdefault(error.status, {})[error.code] = error
    return {status: _documented(found[status]) for status in sorted(found)}


def _documented(errors: Mapping[str, type[ApiError]]) -> JsonObject:
    """Of one status, by code, each with an example."""
    names = [_example(error) for error in errors.values()]
    return {
        "model": ErrorEnvelope,
        "description": " · ".join(f"`{code}`" for code in errors),
        "content": {
            "application/json": {"examples": {name: {"$ref": f"#/components/examples/{name}"} for name in names}}
        },
    }


def _example(error: type[ApiError]) -> str:
    """The name of its example, which `api.openapi` puts among the document's components."""
    shown = _envelope(_REFINED.get(error, error), _EXAMPLE_REQUEST_ID)
    name = str(shown["error"]["code"])
    examples[name] = {"value": shown}
    return name


def with_key(*errors: type[ApiError]) -> dict[int | str, JsonObject]:
    """`documented`, for a route that asks for a key."""
    return documented(KeyMissing, KeyInvalid, KeyRevoked, ScopeMissing, DatabaseUnavailable, *errors)
