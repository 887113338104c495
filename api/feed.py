"""`/v1/events`: all that a customer is told of, in one order, for whom a webhook cannot reach."""

from __future__ import annotations

import re
import time
from collections.abc import Sequence
from typing import Annotated

import orjson
from fastapi import APIRouter, Header, Query, Request
from starlette.responses import Response

from api import answers, pages, sse
from api.auth import CallerPrincipal
from api.context import Context, Ctx
from api.errors import CursorExpired, InvalidRequest, StreamsExceeded, Unprocessable, with_key
from schemas.feed import Feed
from schemas.jsons import JsonObject
from schemas.webhooks import POSITION, SUBSCRIPTION
from store import feed
from store.accounts import Principal
from store.feed import Beyond, FeedEvent, Part, Pruned

router = APIRouter(prefix="/v1/events", tags=["Events"])

_LATEST = "latest"
_MOST_WAIT_S = 30
_MOST_TYPES = 50


@router.get(
    "",
    operation_id="list_events",
    response_model=Feed,
    summary="Your account's feed",
    responses={**with_key(InvalidRequest, Unprocessable, StreamsExceeded), **sse.DOCUMENTED},
)
async def list_events(
    request: Request,
    caller: CallerPrincipal,
    ctx: Ctx,
    after: Annotated[
        str | None,
        Query(
            description="A position, to begin behind it; `latest`: with what comes from now on.",
            json_schema_extra={"pattern": f"^({POSITION}|{_LATEST})$"},
        ),
    ] = None,
    types: Annotated[
        list[Annotated[str, Query(json_schema_extra={"pattern": SUBSCRIPTION})]] | None,
        Query(description="Types, or `session.*`; repeatable. Default: all.", max_length=_MOST_TYPES),
    ] = None,
    limit: pages.Limit = pages.DEFAULT,
    wait: Annotated[int, Query(ge=0, le=_MOST_WAIT_S, description="Seconds to wait while there is nothing.")] = 0,
    last_event_id: Annotated[str | None, Header(description="Where a stream goes on; wins over `after`.")] = None,
) -> Response:
    """Every public event of the account in order, with the bodies of webhooks, kept for 30 days. Go on with
    `after=<next_cursor>`: nothing is left out and nothing comes twice. With `Accept: text/event-stream` it is a stream
    that goes on live and resumes by `Last-Event-ID`."""
    _check(types or [])
    streamed = sse.wanted(request)
    place = await _place(ctx, caller.account_id, last_event_id if streamed and last_event_id else after)
    if streamed:
        return await _stream(ctx, caller, place, types or [])
    if not wait:
        return answers.json(_shown(await _part(ctx, caller.account_id, place, types or [], limit)))
    with ctx.news.of(caller.account_id, caller.account_id) as waiter:
        until = time.monotonic() + wait
        while True:
            found = await _part(ctx, caller.account_id, place, types or [], limit)
            left_s = until - time.monotonic()
            if found.events or found.through < found.head or left_s <= 0 or ctx.news.over:
                return answers.json(_shown(found))
            await waiter.wait(left_s)


def _check(types: Sequence[str]) -> None:
    for each in types:
        if re.fullmatch(SUBSCRIPTION, each) is None:
            raise InvalidRequest(
                "types are event types, prefixes such as session.*, or *.", code="types.invalid", param="types"
            )


async def _place(ctx: Context, account_id: str, text: str | None) -> int:
    if text == _LATEST:
        async with ctx.pool.connection() as connection:
            return await feed.head(connection, account_id)
    if text is not None and re.fullmatch(POSITION, text) is None:
        raise InvalidRequest("after must be a position of the feed, or latest.", code="cursor.invalid", param="after")
    return int(text or 0)


async def _part(ctx: Context, account_id: str, after: int, types: Sequence[str], limit: int) -> Part:
    try:
        async with ctx.pool.connection() as connection:
            return await feed.part(connection, account_id, after, types, limit)
    except Beyond:
        raise InvalidRequest(
            "after is beyond the last event of your feed. Begin with latest.", code="cursor.invalid", param="after"
        ) from None
    except Pruned as pruned:
        raise CursorExpired(pruned.oldest - 1) from None


async def _stream(ctx: Context, caller: Principal, place: int, types: Sequence[str]) -> Response:
    await _part(ctx, caller.account_id, place, types, 1)  # what is wrong with the place is told before it begins
    at = place

    async def look() -> Sequence[sse.Item]:
        nonlocal at
        while True:
            found = await _part(ctx, caller.account_id, at, types, pages.MOST)
            at = found.through
            if found.events or found.through >= found.head:
                return [sse.Item(str(each.position), each.type, _item(each)) for each in found.events]

    return sse.EventStream(ctx, caller, caller.account_id, look, lambda: str(at))


def _shown(found: Part) -> JsonObject:
    return {
        "object": "list",
        "data": [_item(each) for each in found.events],
        "has_more": found.through < found.head,
        "next_cursor": str(found.through),
    }


def _item(event: FeedEvent) -> JsonObject:
    body: JsonObject = orjson.loads(event.body)
    return {"position": event.position, "id": event.event_id, **body}
