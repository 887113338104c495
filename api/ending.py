"""Ends: requested in the log first, then told to the worker. A lost command is the roster's to repair."""

from __future__ import annotations

import asyncio

import structlog

from api.context import Context
from api.deadline import Deadline
from api.errors import InFlight, LogUnavailable
from events import assignments
from events.assignments import WHICHEVER
from events.codec import Event, new_event
from events.producer import SEND_TIMEOUT_S, UnknownOutcome
from events.topics import ASSIGNMENTS, SESSIONS
from schemas.events import RequestReason, SessionEndRequested
from store import admissions

log = structlog.get_logger()

SOURCE = "greenroom/api"
_SUPERSEDE_WAIT_S = 2.0
_LOOK_EVERY_S = 0.02


async def supersede(ctx: Context, account_id: str, session_id: str, request_id: str, deadline: Deadline) -> None:
    """End the session that holds the same room and identity, and wait up to 2 s for its end.

    Two workers under one identity would throw each other out of the room for ever.
    """
    await request_end(ctx, account_id, session_id, "superseded", request_id, min(SEND_TIMEOUT_S, deadline.left_s))
    waiting = deadline.within(_SUPERSEDE_WAIT_S)
    while not waiting.over:
        async with ctx.pool.connection(within_s=waiting.left_s) as connection:
            if await admissions.is_over(connection, session_id):
                return
        await asyncio.sleep(_LOOK_EVERY_S)


async def await_create(ctx: Context, session_id: str, within_s: float) -> None:
    """Wait until the session's create is known to be in the log: with an end before it, it would never have been.

    Raises InFlight.
    """
    deadline = Deadline(within_s)
    while True:
        async with ctx.pool.connection() as connection:
            if await admissions.in_the_log(connection, session_id):
                return
        if deadline.over:
            raise InFlight
        await asyncio.sleep(_LOOK_EVERY_S)


async def request_end(
    ctx: Context,
    account_id: str,
    session_id: str,
    reason: RequestReason,
    request_id: str,
    within_s: float = SEND_TIMEOUT_S,
) -> None:
    """Append the request, then tell the worker. Raises LogUnavailable: the end may still come."""
    data = SessionEndRequested(session_id, by="api", reason=reason)
    event = new_event(data, source=SOURCE, subject=session_id, account=account_id, correlation=request_id)
    try:
        await ctx.producer.send(SESSIONS, event, within_s)
    except UnknownOutcome as unknown:
        raise LogUnavailable from unknown
    async with ctx.pool.connection() as connection:
        worker_id = await admissions.mark_ending(connection, session_id)
    if worker_id is not None:
        # The roster repeats it each second, with the exact attempt.
        await enqueue(ctx, assignments.end(worker_id, session_id, WHICHEVER, reason, SOURCE, request_id))


async def enqueue(ctx: Context, command: Event) -> None:
    """Send without waiting for the acknowledgement: a lost command is the roster's to repair."""
    try:
        acknowledged = await ctx.producer.enqueue(ASSIGNMENTS, command, timeout_s=1)
    except UnknownOutcome:
        log.warning("command not enqueued; the roster repeats it", type=command.type, worker_id=command.subject)
        return
    acknowledged.add_done_callback(warn_if_failed)


def warn_if_failed(acknowledged: asyncio.Future[object]) -> None:
    if not acknowledged.cancelled() and acknowledged.exception() is not None:
        log.warning("command not acknowledged; the roster repeats it")
