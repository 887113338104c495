"""`/v1/sessions`."""

from __future__ import annotations

import asyncio
import time
from typing import Annotated, Any

import orjson
from fastapi import APIRouter, Query, Request
from pydantic import Field
from starlette.responses import Response

from api import admission, answers, avatars, bodies, ending, pages, tokens
from api.auth import CallerPrincipal
from api.context import Context, Ctx
from api.deadline import Deadline
from api.errors import (
    ApiError,
    AtCapacity,
    AvatarNotFound,
    AvatarNotReady,
    BodyTooLarge,
    ConcurrencyExceeded,
    DatabaseUnavailable,
    InFlight,
    InvalidRequest,
    KeyInvalid,
    KeyMissing,
    KeyReused,
    KeyRevoked,
    LogUnavailable,
    MalformedJson,
    SessionNotFound,
    TransportUnsupported,
    Unprocessable,
    documented,
    request_id,
)
from projections import sessions
from projections.resources import resource
from projections.sessions import StoredSession
from schemas.ids import SESSION
from schemas.jsons import JsonObject
from schemas.requests import Text
from schemas.sessions import CreateSession, SessionList, SessionResource
from schemas.times import from_wire
from store.accounts import AccountErased

router = APIRouter(prefix="/v1/sessions", tags=["Sessions"])

_COMMON = (KeyMissing, KeyInvalid, KeyRevoked, DatabaseUnavailable)
_GROUPS = {
    "active": ("created", "queued", "starting", "running", "ending"),
    "terminal": ("ended", "failed", "canceled"),
}
_STATUSES = (*_GROUPS["active"], *_GROUPS["terminal"])
_FOLD_WAIT_S = 0.5
_RESERVED = ("websocket", "pipecat")

_IDEMPOTENCY_KEY = {
    "name": "Idempotency-Key",
    "in": "header",
    "description": "The same key and body within 24 hours get the answer of the first request.",
    "schema": {"type": "string", "minLength": 1, "maxLength": 255, "pattern": "^[ -~]+$"},
}

Moment = Annotated[str, Field(json_schema_extra={"format": "date-time"})]


@router.post(
    "",
    status_code=201,
    response_model=SessionResource,
    summary="Create a session",
    responses=documented(
        MalformedJson,
        TransportUnsupported,
        BodyTooLarge,
        *_COMMON,
        AvatarNotFound,
        AvatarNotReady,
        KeyReused,
        Unprocessable,
        ConcurrencyExceeded,
        AtCapacity,
        LogUnavailable,
        InFlight,
    ),
    openapi_extra={**bodies.documented(CreateSession), "parameters": [_IDEMPOTENCY_KEY]},
)
async def create(request: Request, caller: CallerPrincipal, ctx: Ctx) -> Response:
    """Allocate a worker and begin a realtime avatar session.

    Returns immediately with status `queued`; poll `GET /v1/sessions/{id}` or wait for the `session.first_frame`
    webhook. Send an `Idempotency-Key` to retry safely.
    """
    raw = await bodies.read(request)
    deadline = Deadline(admission.WITHIN_S)
    key = _idempotency_key(request)
    body = parse(raw)
    try:
        await ctx.livekit_hosts.check(body.transport.url)
        identity = tokens.check(body.transport, time.time())
        runtime_type, face = await avatars.usable(ctx, caller.account_id, body.avatar_id)
    except ApiError:
        # Retried after the token's expiry, or the avatar's deletion: what was answered before still holds.
        before = await admission.earlier(ctx, caller, raw, key)
        if before is None:
            raise
        return _created(before, key)
    call = admission.Call(caller, body, raw, identity, key, request_id(request), runtime_type, face)
    return _created(await admission.create(ctx, call, deadline), key)


def _idempotency_key(request: Request) -> str | None:
    key = request.headers.get("idempotency-key")
    if key is not None and not (1 <= len(key) <= 255 and key.isascii() and key.isprintable()):
        raise InvalidRequest("Idempotency-Key must be 1 to 255 visible characters.", code="idempotency_key.invalid")
    return key


def _created(done: admission.Created, key: str | None) -> Response:
    headers = {"Location": f"/v1/sessions/{done.session_id}"}
    if done.replayed and key is not None:
        headers["Idempotent-Replayed"] = "true"
    return Response(done.body, status_code=201, headers=headers, media_type="application/json")


def parse(raw: bytes) -> CreateSession:
    """Raises MalformedJson, BodyTooLarge, TransportUnsupported or Unprocessable."""
    content = bodies.parse(raw)
    _look_at_transport(content.get("transport"))
    body = bodies.validate(content, CreateSession)
    for name in body.metadata or {}:
        if name.startswith("_avatar."):
            raise Unprocessable(
                "Metadata keys that start with _avatar. are reserved.",
                code="metadata.reserved",
                param=f"metadata.{name}",
            )
    return body


def _look_at_transport(transport: Any) -> None:
    """Reserved transports are told before the schema is looked at, whatever other fields they bring."""
    if not isinstance(transport, dict) or transport.get("type", "livekit") == "livekit":
        return
    kind = transport["type"]
    if kind in _RESERVED:
        raise TransportUnsupported(f"transport.type={kind} is reserved and not yet available.", param="transport.type")
    raise Unprocessable("transport.type must be livekit.", code="transport.type.invalid", param="transport.type")


@router.get(
    "/{session_id}",
    response_model=SessionResource,
    summary="Get a session",
    responses=documented(*_COMMON, SessionNotFound),
)
async def get(session_id: str, caller: CallerPrincipal, ctx: Ctx) -> Response:
    return answers.json(await _shown(ctx, caller.account_id, await _find(ctx, caller.account_id, session_id)))


@router.get(
    "",
    response_model=SessionList,
    summary="List sessions",
    responses={**documented(InvalidRequest, *_COMMON, Unprocessable)},
)
async def list_sessions(
    caller: CallerPrincipal,
    ctx: Ctx,
    status: Annotated[
        list[Annotated[str, Field(json_schema_extra={"enum": [*_STATUSES, *_GROUPS]})]] | None,
        Query(description="Repeatable; `active` and `terminal` are groups."),
    ] = None,
    avatar_id: Text | None = None,
    created_after: Annotated[Moment | None, Query(description="Inclusive.")] = None,
    created_before: Annotated[Moment | None, Query(description="Exclusive.")] = None,
    limit: pages.Limit = pages.DEFAULT,
    starting_after: Annotated[str | None, pages.starting_after(SESSION)] = None,
) -> Response:
    """Newest first."""
    only = sessions.Filter(
        statuses=_wanted(status or []),
        avatar_id=avatar_id,
        created_after_ms=_moment("created_after", created_after),
        created_before_ms=_moment("created_before", created_before),
        before_id=pages.checked(starting_after, SESSION, "a session"),
    )
    async with ctx.pool.connection() as connection:
        found = await sessions.page(connection, caller.account_id, only, limit + 1)
    page = pages.page(found, limit, lambda item: item.session_id)
    return answers.json({**page, "data": [await _shown(ctx, caller.account_id, item) for item in page["data"]]})


@router.post(
    "/{session_id}/end",
    response_model=SessionResource,
    summary="End a session",
    responses=documented(*_COMMON, SessionNotFound, LogUnavailable, InFlight),
)
async def end(session_id: str, request: Request, caller: CallerPrincipal, ctx: Ctx) -> Response:
    """Idempotent. A body is ignored. `canceled` when it had not started yet, else `ending` and soon `ended`."""
    found = await _find(ctx, caller.account_id, session_id)
    if found.status in _GROUPS["terminal"] or (found.state is not None and found.state.end_requested):
        return answers.json(await _shown(ctx, caller.account_id, found))
    if found.state is None:
        await ending.await_create(ctx, session_id, _FOLD_WAIT_S)
    await ending.request_end(ctx, caller.account_id, session_id, "api_request", request_id(request))
    deadline = time.monotonic() + _FOLD_WAIT_S
    while time.monotonic() < deadline:
        found = await _find(ctx, caller.account_id, session_id)
        if found.state is not None and (found.state.terminal or found.state.end_requested):
            break
        await asyncio.sleep(0.01)
    shown = await _shown(ctx, caller.account_id, found)
    if shown["status"] not in _GROUPS["terminal"]:
        shown["status"] = "ending"
    return answers.json(shown)


async def _find(ctx: Context, account_id: str, session_id: str) -> StoredSession:
    async with ctx.pool.connection() as connection:
        found = await sessions.find(connection, account_id, session_id)
    if found is None:
        raise SessionNotFound
    return found


async def _shown(ctx: Context, account_id: str, found: StoredSession) -> JsonObject:
    if found.state is None:
        shown: JsonObject = orjson.loads(found.resource or "")
    else:
        try:
            key = await ctx.data_keys.of(account_id)
        except AccountErased:
            key = None
        shown = resource(found.state, key)
    shown["status"] = found.status
    return shown


def _wanted(statuses: list[str]) -> list[str]:
    wanted: list[str] = []
    for status in statuses:
        if status not in _STATUSES and status not in _GROUPS:
            raise InvalidRequest(f"{status} is not a status.", code="status.invalid", param="status")
        wanted.extend(_GROUPS.get(status, (status,)))
    return wanted


def _moment(name: str, text: str | None) -> int | None:
    if text is None:
        return None
    try:
        return from_wire(text.replace(" ", "+"))  # a + of an unescaped zone arrives as a space
    except ValueError:
        raise Unprocessable(
            f"{name} must be an ISO 8601 time with a zone, such as 2026-11-23T05:00:00Z.",
            code=f"{name}.invalid",
            param=name,
        ) from None
