"""`/v1/live`: what goes on right now, minute by minute. Of what `greenroom live` counts; nothing is billed by it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated

from fastapi import APIRouter, Header, Query, Request
from starlette.responses import Response

from api import answers, sse
from api.auth import CallerPrincipal
from api.context import Context, Ctx
from api.errors import InvalidRequest, StreamsExceeded, Unprocessable, with_key
from api.moments import moment
from projections.live import subject
from projections.windows import of_account, windows
from schemas.jsons import JsonObject
from schemas.live import LATENESS_MS, MINUTES, WINDOW_MS, LiveResource, Window, WindowName, shown
from schemas.times import now_ms, to_wire
from store.accounts import Principal

router = APIRouter(prefix="/v1/live", tags=["Account"])

_MOST_WINDOWS = 60
_OPEN = LATENESS_MS // WINDOW_MS + 2
"""Windows that may still change: the one of now, those that the lateness reaches, and one that it touches."""
_LOOKED_BACK = 15
"""Windows that a stream looks at: those of a quarter of an hour come again when they are caught up with."""
_LOOK_S = 20.0


@router.get(
    "",
    operation_id="get_live",
    response_model=LiveResource,
    summary="What goes on right now",
    responses={**with_key(InvalidRequest, Unprocessable, StreamsExceeded), 200: sse.DOCUMENTED[200]},
)
async def get_live(
    request: Request,
    caller: CallerPrincipal,
    ctx: Ctx,
    window: Annotated[WindowName, Query(description="Minutes, or five minutes that begin anew each minute.")] = "1m",
    limit: Annotated[
        int, Query(ge=1, le=_MOST_WINDOWS, description="How many windows, the current one included.")
    ] = 15,
    last_event_id: Annotated[str | None, Header(description="Where a stream goes on: the start of a window.")] = None,
) -> Response:
    """Your sessions by window: starts, who is active, first frames, billed time, failures. By the events' own time;
    each window stands two minutes after its end. With `Accept: text/event-stream` every window comes again when it
    changes."""
    if sse.wanted(request):
        return _stream(ctx, caller, window, moment("last_event_id", last_event_id))
    found, complete = await _windows(ctx, caller, window, limit)
    return answers.json(_view(window, complete, found).model_dump())


async def _windows(ctx: Context, caller: Principal, name: WindowName, limit: int) -> tuple[list[Window], bool]:
    now = now_ms()
    oldest = now - now % WINDOW_MS - (limit + MINUTES[name]) * WINDOW_MS
    async with ctx.pool.connection() as connection:
        minutes, complete = await of_account(connection, caller.account_id, oldest, now + WINDOW_MS)
    return windows(minutes, now, limit, MINUTES[name]), complete


def _view(name: WindowName, complete: bool, found: Sequence[Window]) -> LiveResource:
    return LiveResource(
        window=name,
        window_seconds=MINUTES[name] * WINDOW_MS // 1000,
        hop_seconds=WINDOW_MS // 1000,
        lateness_seconds=LATENESS_MS // 1000,
        complete=complete,
        windows=[shown(each) for each in found],
    )


def _stream(ctx: Context, caller: Principal, name: WindowName, since_ms: int | None) -> Response:
    """All open windows first, and then each that has changed. Those that closed while nobody listened come first."""
    told: dict[int, Window] | None = None
    at = to_wire(since_ms or now_ms())

    async def look() -> Sequence[sse.Item]:
        nonlocal at, told
        missed = (now_ms() - since_ms) // WINDOW_MS + 1 if told is None and since_ms is not None else 0
        found, _ = await _windows(ctx, caller, name, max(_LOOKED_BACK, min(missed, _MOST_WINDOWS)))
        if told is None:
            told = {each.from_ms: each for each in found[: -max(_OPEN, missed)]}
        changed = [each for each in found if told.get(each.from_ms) != each]
        told = {each.from_ms: each for each in found}
        if changed:
            at = to_wire(found[-1].from_ms)
        return [sse.Item(to_wire(each.from_ms), "window", _item(each)) for each in changed]

    return sse.EventStream(ctx, caller, subject(caller.account_id), look, lambda: at, _LOOK_S)


def _item(window: Window) -> JsonObject:
    return shown(window).model_dump()
