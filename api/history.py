"""`/v1/sessions/{id}/events` and `/timeline`: what happened to a session, as a list, as a stream, summed up."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Annotated

from fastapi import APIRouter, Header, Query, Request
from starlette.responses import Response

from api import answers, pages, reading, sse
from api.auth import CallerPrincipal
from api.context import Context, Ctx
from api.errors import (
    InvalidRequest,
    SessionNotFound,
    StreamsExceeded,
    Unprocessable,
    with_key,
)
from events.sealing import KeySet
from projections import history, timeline
from projections.history import Beat, Happened, Position
from projections.resources import resource
from schemas.history import HistoryPage, Timeline
from schemas.jsons import JsonObject
from schemas.times import to_wire
from store.accounts import Principal

router = APIRouter(prefix="/v1/sessions/{session_id}", tags=["Sessions"])

_POSITION = re.compile(r"(0|[1-9][0-9]{0,8})(?:\.([1-9][0-9]{0,8}))?")
_HEARTBEATS_S = 1.0
"""How often a stream with heartbeats looks: nobody tells of those."""


@router.get(
    "/events",
    response_model=HistoryPage,
    operation_id="list_session_events",
    summary="History of a session",
    responses={**with_key(InvalidRequest, SessionNotFound, Unprocessable, StreamsExceeded), **sse.DOCUMENTED},
)
async def events(
    session_id: str,
    request: Request,
    caller: CallerPrincipal,
    ctx: Ctx,
    after: Annotated[
        str | None,
        Query(
            description="A `seq`, or `seq.n` of a heartbeat: begin behind it.",
            json_schema_extra={"pattern": f"^{_POSITION.pattern}$"},
        ),
    ] = None,
    heartbeats: Annotated[bool, Query(description="Also the worker's heartbeats; their `seq` is null.")] = False,
    limit: pages.Limit = pages.DEFAULT,
    last_event_id: Annotated[str | None, Header(description="Where a stream goes on; wins over `after`.")] = None,
) -> Response:
    """In order, kept after the end. With `Accept: text/event-stream` it goes on live until the session is over; the
    client's `Last-Event-ID` resumes it, and 204 says that nothing more will come."""
    session = await reading.find(ctx, caller.account_id, session_id)
    streamed = sse.wanted(request)
    place = _position(last_event_id if streamed and last_event_id else after)
    if streamed:
        return await _stream(ctx, caller, session_id, place, heartbeats)
    found = await _look(ctx, session_id, place, heartbeats, limit + 1)
    page = pages.page(found, limit, lambda item: str(item.at))
    keys = await reading.keys(ctx, caller.account_id, session)
    return answers.json({**page, "data": [_shown(item, keys) for item in page["data"]]})


def _position(text: str | None) -> Position:
    if text is None:
        return Position()
    match = _POSITION.fullmatch(text)
    if match is None:
        raise InvalidRequest("after must be a seq, or seq.n of a heartbeat.", code="cursor.invalid", param="after")
    return Position(int(match[1]), int(match[2] or 0))


async def _look(
    ctx: Context, session_id: str, after: Position, heartbeats: bool, limit: int
) -> Sequence[Happened | Beat]:
    async with ctx.pool.connection() as connection:
        if heartbeats:
            return await history.with_heartbeats(connection, session_id, after, limit)
        return await history.events(connection, session_id, after, limit)


async def _stream(ctx: Context, caller: Principal, session_id: str, place: Position, heartbeats: bool) -> Response:
    async with ctx.pool.connection() as connection:
        over = await history.over_since(connection, session_id)
    if over is not None and place.seq >= over:
        return Response(status_code=204)  # a browser would come back for ever
    at = place

    async def look() -> Sequence[sse.Item]:
        nonlocal at
        found = await _look(ctx, session_id, at, heartbeats, pages.MOST)
        if not found:
            return ()
        at = found[-1].at
        keys = await reading.keys_now(ctx, caller.account_id, session_id)
        return [
            sse.Item(str(item.at), shown["type"], shown, last=isinstance(item, Happened) and item.state.terminal)
            for item in found
            for shown in [_shown(item, keys)]
        ]

    every_s = _HEARTBEATS_S if heartbeats else sse.LOOK_S
    return sse.EventStream(ctx, caller, session_id, look, lambda: str(at), every_s)


def _shown(item: Happened | Beat, keys: KeySet) -> JsonObject:
    if isinstance(item, Beat):
        return {
            "seq": None,
            "n": item.at.n,
            "type": "session.heartbeat",
            "occurred_at": to_wire(item.occurred_ms),
            "data": {"attempt": item.attempt, "billable_ms": item.billable_ms, "frames": item.frames},
        }
    return {
        "seq": item.at.seq,
        "type": item.type,
        "occurred_at": to_wire(item.occurred_ms),
        "data": resource(item.state, keys),
    }


@router.get(
    "/timeline",
    response_model=Timeline,
    operation_id="get_session_timeline",
    summary="Timeline of a session",
    responses=with_key(SessionNotFound),
)
async def get_timeline(session_id: str, caller: CallerPrincipal, ctx: Ctx) -> Response:
    """How it went: what took how long, which workers tried, how it ended."""
    found = await reading.find(ctx, caller.account_id, session_id)
    async with ctx.pool.connection() as connection:
        happened = await history.events(
            connection, session_id, Position(), timeline.MOST_EVENTS, public=False, without=timeline.NOTICES
        )
        frames = await history.attempts(connection, session_id)
    return answers.json(timeline.made(session_id, found.status, happened, frames))
