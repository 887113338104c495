"""`/v1/sessions`."""

from __future__ import annotations

import asyncio
import re
import time
from typing import Annotated

from fastapi import APIRouter, Query, Request
from pydantic import Field
from starlette.responses import Response

from api import (
    admission,
    answers,
    avatars,
    bodies,
    creates,
    ending,
    examples,
    metrics,
    pages,
    rates,
    reading,
    tokens,
    tracing,
)
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
    HistoryBehind,
    InFlight,
    InvalidRequest,
    KeyReused,
    LogUnavailable,
    MalformedJson,
    NoCredits,
    RateLimited,
    SessionNotFound,
    TransportUnsupported,
    Unprocessable,
    label,
    request_id,
    with_key,
)
from api.moments import Moment, moment
from events.session_state import State
from events.tracing import Span
from projections import history, sessions
from projections.resources import resource
from schemas.ids import SESSION
from schemas.jsons import JsonObject
from schemas.requests import Text
from schemas.sessions import CreateSession, DryRun, SessionList, SessionResource
from store.accounts import Principal
from store.database import DatabaseUnreachable

router = APIRouter(prefix="/v1/sessions", tags=["Sessions"])

_GROUPS = {
    "active": ("created", "queued", "starting", "running", "ending"),
    "terminal": ("ended", "failed", "canceled"),
}
_STATUSES = (*_GROUPS["active"], *_GROUPS["terminal"])
_FOLD_WAIT_S = 0.5

_TRIED: dict[int | str, JsonObject] = {
    200: {
        "model": DryRun,
        "description": "With `dry_run`: what would be refused.",
        "content": {"application/json": {"example": examples.shown(examples.DRY_RUN)}},
    }
}
_SEQ: JsonObject = {"type": "integer", "minimum": 1, "maximum": 999_999_999}
_IDEMPOTENCY_KEY = {
    "name": "Idempotency-Key",
    "in": "header",
    "description": "The same key and body within 24 hours get the answer of the first request.",
    "schema": {"type": "string", "minLength": 1, "maxLength": 255, "pattern": "^[ -~]+$"},
}


@router.post(
    "",
    status_code=201,
    response_model=SessionResource,
    operation_id="create_session",
    summary="Create a session",
    responses=_TRIED
    | with_key(
        MalformedJson,
        TransportUnsupported,
        BodyTooLarge,
        AvatarNotFound,
        AvatarNotReady,
        KeyReused,
        Unprocessable,
        NoCredits,
        RateLimited,
        ConcurrencyExceeded,
        AtCapacity,
        LogUnavailable,
        InFlight,
    ),
    openapi_extra={**bodies.documented(CreateSession), "parameters": [_IDEMPOTENCY_KEY, tracing.PARAMETER]},
)
async def create(
    request: Request,
    caller: CallerPrincipal,
    ctx: Ctx,
    dry_run: Annotated[bool, Query(description="Only say what would be refused, and the price.")] = False,
) -> Response:
    """Allocate a worker and begin a realtime avatar session.

    Returns immediately with status `queued`; poll `GET /v1/sessions/{id}` or wait for the `session.first_frame`
    webhook. Send an `Idempotency-Key` to retry safely.
    """
    ctx.attempts.take(caller.key_id, caller.creates_per_minute)
    raw = await bodies.read(request)
    if dry_run:
        return answers.json((await creates.tried(ctx, caller, bodies.parse(raw))).model_dump())
    key = _idempotency_key(request)
    span = tracing.asked(request)
    try:
        done = await _create(ctx, caller, raw, key, request_id(request), span)
    except (ApiError, DatabaseUnreachable) as refused:
        error = refused if isinstance(refused, ApiError) else DatabaseUnavailable()
        metrics.creates(label(error)).inc()
        tracing.refused(span, error)
        raise
    except BaseException as failed:
        tracing.refused(span, failed)  # its parts are told already, and would hang in the air
        raise
    tracing.created(span, done.session_id, done.replayed)
    metrics.creates("replayed" if done.replayed else "created").inc()
    headers = {"Location": f"/v1/sessions/{done.session_id}", **rates.headers(done.rate)}
    if done.replayed and key is not None:
        headers["Idempotent-Replayed"] = "true"
    return Response(done.body, status_code=201, headers=headers, media_type="application/json")


async def _create(
    ctx: Context, caller: Principal, raw: bytes, key: str | None, request: str, span: Span
) -> admission.Created:
    """`request`: its id."""
    deadline = Deadline(admission.WITHIN_S)
    body = creates.parse(raw)
    try:
        await ctx.livekit_hosts.check(body.transport.url)
        identity = tokens.check(body.transport, time.time())
        avatar = await avatars.usable(ctx, caller.account_id, body.avatar_id)
    except ApiError:
        # Retried after the token's expiry, or the avatar's deletion: what was answered before still holds.
        before = await admission.earlier(ctx, caller, raw, key)
        if before is None:
            raise
        return before
    call = admission.Call(caller, body, raw, identity, key, request, avatar, span)
    return await admission.create(ctx, call, deadline)


def _idempotency_key(request: Request) -> str | None:
    key = request.headers.get("idempotency-key")
    if key is not None and not (1 <= len(key) <= 255 and key.isascii() and key.isprintable()):
        raise InvalidRequest("Idempotency-Key must be 1 to 255 visible characters.", code="idempotency_key.invalid")
    return key


@router.get(
    "/{session_id}",
    response_model=SessionResource,
    operation_id="get_session",
    summary="Get a session",
    responses=with_key(InvalidRequest, SessionNotFound, Unprocessable, HistoryBehind),
)
async def get(
    session_id: str,
    caller: CallerPrincipal,
    ctx: Ctx,
    at: Annotated[
        str | None,
        Query(
            description="As it was: after its event with this `seq`, or at this time.",
            json_schema_extra={
                "anyOf": [
                    {"type": "integer", "minimum": 1, "maximum": 999_999_999},
                    {"type": "string", "format": "date-time"},
                ]
            },
        ),
    ] = None,
) -> Response:
    """A session as it is now. Its status never goes back, and after the 201 of its create this never answers 404."""
    found = await reading.find(ctx, caller.account_id, session_id)
    if at is not None:
        keys = await reading.keys(ctx, caller.account_id, found)
        return answers.json(resource(await _as_it_was(ctx, session_id, at), keys))
    return answers.json(await reading.shown(ctx, caller.account_id, found))


async def _as_it_was(ctx: Context, session_id: str, at: str) -> State:
    seq = int(at) if re.fullmatch("[0-9]{1,9}", at) else None
    time_ms = None if seq is not None else moment("at", at)
    async with ctx.pool.connection() as connection:
        if seq is not None:
            state = await history.as_of_seq(connection, session_id, seq)
        else:
            state = await history.as_of_time(connection, session_id, time_ms or 0)
        if state is None and await history.created(connection, session_id) is None:
            raise HistoryBehind
    if state is None:
        raise InvalidRequest(
            "at is before the session was created, or beyond its last event.", code="at.invalid", param="at"
        )
    return state


@router.get(
    "",
    response_model=SessionList,
    operation_id="list_sessions",
    summary="List sessions",
    responses={**with_key(InvalidRequest, Unprocessable)},
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
        created_after_ms=moment("created_after", created_after),
        created_before_ms=moment("created_before", created_before),
        before_id=pages.checked(starting_after, SESSION, "a session"),
    )
    async with ctx.pool.connection() as connection:
        found = await sessions.page(connection, caller.account_id, only, limit + 1)
    page = pages.page(found, limit, lambda item: item.session_id)
    return answers.json({**page, "data": [await reading.shown(ctx, caller.account_id, item) for item in page["data"]]})


@router.post(
    "/{session_id}/end",
    response_model=SessionResource,
    operation_id="end_session",
    summary="End a session",
    responses=with_key(SessionNotFound, LogUnavailable, InFlight),
)
async def end(session_id: str, request: Request, caller: CallerPrincipal, ctx: Ctx) -> Response:
    """Idempotent. A body is ignored. `canceled` when it had not started yet, else `ending` and soon `ended`."""
    found = await reading.find(ctx, caller.account_id, session_id)
    if found.status in _GROUPS["terminal"] or (found.state is not None and found.state.end_requested):
        return answers.json(await reading.shown(ctx, caller.account_id, found))
    if found.state is None:
        await ending.await_create(ctx, session_id, _FOLD_WAIT_S)
    await ending.request_end(ctx, caller.account_id, session_id, "api_request", request_id(request))
    deadline = time.monotonic() + _FOLD_WAIT_S
    while time.monotonic() < deadline:
        found = await reading.find(ctx, caller.account_id, session_id)
        if found.state is not None and (found.state.terminal or found.state.end_requested):
            break
        await asyncio.sleep(0.01)
    shown = await reading.shown(ctx, caller.account_id, found)
    if shown["status"] not in _GROUPS["terminal"]:
        shown["status"] = "ending"
    return answers.json(shown)


def _wanted(statuses: list[str]) -> list[str]:
    wanted: list[str] = []
    for status in statuses:
        if status not in _STATUSES and status not in _GROUPS:
            raise InvalidRequest(f"{status} is not a status.", code="status.invalid", param="status")
        wanted.extend(_GROUPS.get(status, (status,)))
    return wanted
