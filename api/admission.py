"""Admission: from a valid request to a session that is in the log, or to an error that left nothing behind.

1. `admit()` in Postgres: cap, slot, secrets, in one transaction; no lock is held while waiting for a slot.
2. `session.created`, which names worker and attempt 1, is appended and acknowledged.
3. The sealed assignment is sent; losing it is the roster's to repair.

If the process dies after 1, the roster settles the admission; after 2, it replaces the silent worker.
"""

from __future__ import annotations

import asyncio
import hashlib
import hmac
from dataclasses import dataclass
from typing import Any

import orjson
import psycopg
import structlog
from msgspec import structs

from api.context import Context
from api.errors import AtCapacity, ConcurrencyExceeded, InFlight, KeyReused, KeyRevoked, LogUnavailable, Unprocessable
from events.codec import Event, new_event
from events.producer import SEND_TIMEOUT_S, UnknownOutcome
from events.sealing import DataKey, dump_task, seal
from events.sessions import HIDDEN_REASON, RULES, Evolved, evolve
from events.topics import ASSIGNMENTS, SESSIONS
from projections.accounts import Principal
from projections.database import DatabaseUnreachable
from projections.resources import context, resource
from projections.roster import abandon
from schemas import events as e
from schemas.assignments import Task
from schemas.avatars import RuntimeType
from schemas.ids import EVENT, SESSION, new_id
from schemas.rates import rate_for
from schemas.sessions import MAX_METADATA_BYTES, CreateSession
from schemas.times import now_ms

log = structlog.get_logger()

SOURCE = "greenroom/api"
_RETRY_S = 0.1
_TWIN_WAIT_S = 5.0
_SUPERSEDE_WAIT_S = 2.0
_ALWAYS_WITHIN_S = 7.5
_SQLSTATE = {"GR001": AtCapacity, "GR002": ConcurrencyExceeded, "GR003": KeyRevoked}


@dataclass(frozen=True)
class Admitted:
    """`body` is the 201's. `replayed`: it is the answer that an earlier request has been given."""

    session_id: str
    body: bytes
    replayed: bool


@dataclass(frozen=True)
class Call:
    """A valid create: who asks, what for, and the body's very bytes, by which retries are recognised."""

    caller: Principal
    body: CreateSession
    raw: bytes
    identity: str
    idempotency_key: str | None
    request_id: str
    runtime_type: RuntimeType = "avtr1"
    face: str | None = None


@dataclass(frozen=True)
class _Request:
    """Everything that admission needs, prepared before any lock is taken."""

    call: Call
    task: Task
    created: e.SessionCreated
    event_id: str
    resource: str
    target_hash: bytes
    body_hmac: bytes


async def create(ctx: Context, call: Call) -> Admitted:
    """Raises the ApiErrors of `POST /v1/sessions`. Always done within 8 s."""
    request = await _prepare(ctx, call)
    deadline = asyncio.get_running_loop().time() + _ALWAYS_WITHIN_S
    row = await _admit(ctx, request)
    if row.outcome == "replayed":
        return Admitted(row.session_id, row.resource.encode(), True)
    session_id, worker_id = row.session_id, row.worker_id
    created, task = request.created, request.task
    if row.outcome == "resumed":
        # Erasable fields are bound to the session id, so they are encrypted again under the first request's id.
        request = await _prepare(ctx, call, session_id)
        created, task = request.created, request.task
    event = _created_event(created, worker_id, row.event_id, row.created_ms, call.request_id)
    left = deadline - asyncio.get_running_loop().time()
    try:
        await ctx.producer.send(SESSIONS, event, min(SEND_TIMEOUT_S, left))
    except UnknownOutcome as unknown:
        await _give_up(ctx, call.caller.account_id, session_id, call.request_id)
        raise LogUnavailable from unknown
    ctx.acknowledged.append((session_id, call.idempotency_key is not None))
    if row.public_key is not None:
        await _send_task(ctx, task, worker_id, row.public_key)
    return Admitted(session_id, row.resource.encode(), False)


async def _prepare(ctx: Context, call: Call, resumed_id: str | None = None) -> _Request:
    """`resumed_id`: the session of a first request that died; its ids are used again."""
    caller, body = call.caller, call.body
    session_id, event_id, at = resumed_id or new_id(SESSION), new_id(EVENT), now_ms()
    metadata = orjson.dumps(body.metadata or {}).decode()
    if len(metadata.encode()) > MAX_METADATA_BYTES:
        raise Unprocessable("metadata is larger than 8 KB.", code="metadata.too_large", param="metadata")
    limit = caller.session_time_limit_seconds
    duration = min(body.max_duration_seconds or limit, limit)
    idle = body.idle_timeout_seconds or caller.idle_timeout_seconds
    key = await ctx.data_keys.of(caller.account_id)
    created = _event_data(call, session_id, metadata, duration, idle, key)
    first = evolve(None, _created_event(created, "", event_id, at, call.request_id), at)
    assert isinstance(first, Evolved)
    transport = body.transport
    task = Task(
        session_id=session_id,
        account_id=caller.account_id,
        url=transport.url,
        room_name=transport.room_name,
        worker_identity=call.identity,
        worker_token=transport.worker_token,
        audio_source=transport.audio_source,
        subscribe_to_identity=transport.subscribe_to_identity,
        synthetic_audio_if_no_input=transport.synthetic_audio_if_no_input,
        avatar_id=body.avatar_id,
        quality=body.quality,
        max_duration_ms=duration * 1000,
        idle_timeout_ms=idle * 1000,
        accepted_ms=at,
        request_id=call.request_id,
        runtime_type=call.runtime_type,
        face=call.face,
    )
    pepper = ctx.settings.key_pepper.get_secret_value().encode()
    account = caller.account_id.encode() + b"\0"
    target = "\0".join((transport.url, transport.room_name, call.identity)).encode()
    return _Request(
        call=call,
        task=task,
        created=created,
        event_id=event_id,
        resource=orjson.dumps(resource(first.state, key)).decode(),
        target_hash=hmac.new(pepper, account + target, hashlib.sha256).digest(),
        body_hmac=hmac.new(pepper, account + call.raw, hashlib.sha256).digest(),
    )


def _event_data(call: Call, session_id: str, metadata: str, duration: int, idle: int, key: DataKey) -> e.SessionCreated:
    caller, body = call.caller, call.body
    transport = body.transport

    def hide(name: str, text: str) -> e.Encrypted:
        return key.encrypt(text, context(session_id, name))

    pinned = transport.subscribe_to_identity
    return e.SessionCreated(
        session_id=session_id,
        rules=RULES,
        account_id=caller.account_id,
        api_key_id=caller.key_id,
        avatar_id=body.avatar_id,
        transport=e.EventTransport(
            type=transport.type,
            url=hide("url", transport.url),
            room_name=hide("room_name", transport.room_name),
            worker_identity=hide("worker_identity", call.identity),
            audio_source=transport.audio_source,
            subscribe_to_identity=hide("subscribe_to_identity", pinned) if pinned else None,
            synthetic_audio_if_no_input=transport.synthetic_audio_if_no_input,
        ),
        quality=body.quality,
        max_duration_seconds=duration,
        idle_timeout_seconds=idle,
        metadata=hide("metadata", metadata),
        plan=caller.plan,
        rate=rate_for(body.quality),
        worker_id="",
        attempt=1,
    )


def _created_event(data: e.SessionCreated, worker_id: str, event_id: str, at: int, request_id: str) -> Event:
    stamped = new_event(
        structs.replace(data, worker_id=worker_id),
        source=SOURCE,
        subject=data.session_id,
        account=data.account_id,
        correlation=request_id,
        event_id=event_id,
    )
    return structs.replace(stamped, time_ms=at)


async def _admit(ctx: Context, request: _Request) -> Any:
    """Call `admit()` until it decides: waits for a slot, for a twin's answer, or for a predecessor's end."""
    clock = asyncio.get_running_loop().time
    slot_deadline = clock() + ctx.settings.capacity_wait_seconds
    twin_deadline = clock() + _TWIN_WAIT_S
    superseded: str | None = None
    while True:
        try:
            row = await _call_admit(ctx, request)
        except psycopg.errors.UniqueViolation:
            continue  # another request of this account was faster by a hair: look again
        except psycopg.Error as refused:
            error = _SQLSTATE.get(refused.sqlstate or "")
            if error is None:
                raise
            if error is not AtCapacity or clock() >= slot_deadline:
                raise error from refused
            await _wait_for_slot(ctx, slot_deadline - clock())
            continue
        if row.outcome == "key_reused":
            raise KeyReused
        if row.outcome == "in_flight":
            if clock() >= twin_deadline:
                raise InFlight
            await asyncio.sleep(_RETRY_S / 2)
        elif row.outcome == "superseding":
            if superseded != row.session_id:
                superseded = row.session_id
                await supersede(ctx, request.call.caller.account_id, row.session_id, request.call.request_id)
        else:
            return row


async def _call_admit(ctx: Context, request: _Request) -> Any:
    master, wrapped = ctx.keyring.wrap(dump_task(request.task), request.task.session_id)
    async with ctx.pool.connection() as connection:
        async with connection.cursor(row_factory=psycopg.rows.namedtuple_row) as cursor:
            await cursor.execute(
                "SELECT * FROM admit(%s, %s, %s, %s, %s, %b, %b, %s, %s, %s, %s, %b)",
                [
                    request.call.caller.key_id,
                    request.call.caller.account_id,
                    request.task.session_id,
                    request.event_id,
                    request.task.quality,
                    request.target_hash,
                    request.body_hmac,
                    request.call.idempotency_key,
                    request.task.accepted_ms,
                    request.resource,
                    master,
                    wrapped,
                ],
            )
            return await cursor.fetchone()


async def _wait_for_slot(ctx: Context, left_s: float) -> None:
    """Outside of any transaction. Waiters of one process are capped: beyond, the answer is at_capacity at once."""
    if ctx.waiters >= ctx.settings.capacity_waiters:
        raise AtCapacity
    ctx.waiters += 1
    try:
        ctx.slot_free.clear()
        async with asyncio.timeout(min(_RETRY_S, max(0.01, left_s))):
            await ctx.slot_free.wait()
    except TimeoutError:
        return
    finally:
        ctx.waiters -= 1


async def supersede(ctx: Context, account_id: str, session_id: str, request_id: str) -> None:
    """End the session that holds the same room and identity, and wait up to 2 s for its end.

    Two workers under one identity would throw each other out of the room for ever.
    """
    await request_end(ctx, account_id, session_id, "superseded", request_id)
    deadline = asyncio.get_running_loop().time() + _SUPERSEDE_WAIT_S
    while asyncio.get_running_loop().time() < deadline:
        async with ctx.pool.connection() as connection:
            cursor = await connection.execute(
                "SELECT 1 FROM admissions WHERE session_id = %s AND state <> 'over'", [session_id]
            )
            if await cursor.fetchone() is None:
                return
        await asyncio.sleep(0.02)


async def request_end(ctx: Context, account_id: str, session_id: str, reason: e.RequestReason, request_id: str) -> None:
    """Append the request, then tell the worker. Raises LogUnavailable, and then nothing was promised."""
    data = e.SessionEndRequested(session_id, by="api", reason=reason)
    event = new_event(data, source=SOURCE, subject=session_id, account=account_id, correlation=request_id)
    try:
        await ctx.producer.send(SESSIONS, event)
    except UnknownOutcome as unknown:
        raise LogUnavailable from unknown
    async with ctx.pool.connection() as connection:
        cursor = await connection.execute(
            """
            WITH ending AS (
                UPDATE admissions SET state = 'ending' WHERE session_id = %s AND state <> 'over' RETURNING worker_id
            )
            SELECT worker_id FROM ending
            """,
            [session_id],
        )
        row = await cursor.fetchone()
    if row is not None:
        # Attempt 0: whichever attempt the worker holds. The roster repeats it each second with the exact one.
        command = e.AssignmentEnd(row[0], session_id, 0, reason)
        await _enqueue(ctx, new_event(command, source=SOURCE, subject=row[0], correlation=request_id))


async def _send_task(ctx: Context, task: Task, worker_id: str, public_key: str) -> None:
    sealed = seal(task, 1, worker_id, public_key)
    command = e.AssignmentAssign(worker_id, task.session_id, 1, sealed)
    await _enqueue(ctx, new_event(command, source=SOURCE, subject=worker_id, correlation=task.request_id))


async def _enqueue(ctx: Context, command: Event) -> None:
    """Send without waiting for the acknowledgement: a lost command is the roster's to repair."""
    try:
        acknowledged = await ctx.producer.enqueue(ASSIGNMENTS, command, timeout_s=1)
    except UnknownOutcome:
        log.warning("command not enqueued; the roster repeats it", type=command.type, worker_id=command.subject)
        return
    acknowledged.add_done_callback(_warn_if_failed)


def _warn_if_failed(acknowledged: asyncio.Future[object]) -> None:
    if not acknowledged.cancelled() and acknowledged.exception() is not None:
        log.warning("command not acknowledged; the roster repeats it")


async def _give_up(ctx: Context, account_id: str, session_id: str, request_id: str) -> None:
    """The create's outcome is unknown. An end goes behind it in the same producer, and the slot is freed.

    If the database fails too, the admission stays untouched and the roster settles it.
    """
    data = e.SessionEndRequested(session_id, by="api", reason=HIDDEN_REASON)
    end = new_event(data, source=SOURCE, subject=session_id, account=account_id, correlation=request_id)
    try:
        async with ctx.pool.connection() as connection, connection.transaction():
            await abandon(connection, session_id, account_id)
            await connection.execute("SELECT release(%s, true)", [[session_id]])
        behind = await ctx.producer.enqueue(SESSIONS, end, timeout_s=0.3)
        behind.add_done_callback(_warn_if_failed)
    except (UnknownOutcome, DatabaseUnreachable):
        log.warning("unknown create left to the roster", session_id=session_id)


async def mark_acknowledged(ctx: Context) -> None:
    """Mark what is in the log, many at once. Lost with the process, it costs a retry 6 s and repeats an event id."""
    while True:
        await asyncio.sleep(0.02)
        if not ctx.acknowledged:
            continue
        done, ctx.acknowledged = ctx.acknowledged, []
        try:
            async with ctx.pool.connection() as connection, connection.transaction():
                await connection.execute(
                    "UPDATE admissions SET acknowledged = true WHERE session_id = ANY(%s)", [[sid for sid, _ in done]]
                )
                keyed = [sid for sid, has_key in done if has_key]
                if keyed:
                    await connection.execute(
                        "UPDATE idempotency_keys SET done = true WHERE session_id = ANY(%s)", [keyed]
                    )
        except DatabaseUnreachable:
            ctx.acknowledged = done + ctx.acknowledged
            await asyncio.sleep(0.5)
