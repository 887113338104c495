"""Admission: from a valid request to a session that is in the log, or to an error that left nothing behind.

1. `admit()` in Postgres: cap, slot, secrets, in one transaction; no lock is held while waiting for a slot.
2. `session.created`, which names worker and attempt 1, is appended and acknowledged.
3. The sealed assignment is sent; losing it is the roster's to repair.

If the process dies after 1, the roster settles the admission; after 2, it replaces the silent worker. From 1 on this
request works on the admission alone for HELD_S. Whoever is paused for longer may find that a retry has gone on, or that
the roster has abandoned the create: it abandons nothing itself then, and answers no 201 before it has looked.
"""

from __future__ import annotations

import asyncio
import hmac
import time
from collections.abc import Mapping

import orjson
import structlog
from msgspec import Struct, structs

from api import rates
from api.avatars import Usable
from api.context import Context
from api.deadline import Deadline
from api.ending import SOURCE, enqueue, supersede, warn_if_failed
from api.errors import (
    AtCapacity,
    CapReached,
    ConcurrencyExceeded,
    InFlight,
    KeyReused,
    KeyRevoked,
    LogUnavailable,
    NoCredits,
)
from events import assignments, tracing
from events.codec import Event, new_event
from events.fold import Evolved
from events.producer import SEND_TIMEOUT_S, UnknownOutcome
from events.sealing import DataKey, dump_task, field_aad
from events.session_state import HIDDEN_REASON
from events.sessions import RULES, evolve
from events.topics import SESSIONS
from events.tracing import Span
from projections.resources import resource_of
from schemas import moods
from schemas.assignments import Task
from schemas.events import Encrypted, EventLabel, EventTransport, SessionCreated, SessionEndRequested
from schemas.ids import EVENT, SESSION, new_id
from schemas.rates import Rate
from schemas.sessions import CreateSession
from schemas.times import now_ms
from store import admissions, admitting, data_keys
from store.accounts import Principal
from store.admissions import HELD_S
from store.admitting import Admitted, Answer, Application, CreateRate, Replayed
from store.database import DatabaseUnreachable

log = structlog.get_logger()

WITHIN_S = 5.8
"""From the body to the answer; authentication before it takes 2 s at the most."""
_IN_LINE_S = 2.0
"""Behind others of its account."""
_RETRY_S, _TWIN_WAIT_S, _ABANDONING_S = 0.1, 4.5, 0.8
_SAME_BODY_MS = 60_000
_KAFKA = {"messaging.system": "kafka", "messaging.destination.name": SESSIONS.name, "messaging.operation.type": "send"}


class Created(Struct, frozen=True):
    """`body` is the 201's. `replayed`: it is the answer that an earlier request has been given."""

    session_id: str
    body: bytes
    replayed: bool
    rate: CreateRate | None = None


class Call(Struct, frozen=True):
    """A valid create: who asks, what for, and the body's very bytes, by which retries are recognised."""

    caller: Principal
    body: CreateSession
    raw: bytes
    identity: str
    idempotency_key: str | None
    request_id: str
    avatar: Usable
    span: Span = tracing.OFF


class _Request(Struct, frozen=True):
    """Everything that admission needs, prepared before any lock is taken."""

    call: Call
    task: Task
    created: SessionCreated
    event_id: str
    resource: str
    target_hash: bytes
    body_hmac: bytes
    session_key: bytes


async def create(ctx: Context, call: Call, deadline: Deadline) -> Created:
    """Raises the ApiErrors of `POST /v1/sessions`. Always done when `deadline` is over."""
    request = await _prepare(ctx, call)
    held_since = _clock()
    with tracing.begin("admit", call.span.traceparent):
        answer = await _admit(ctx, request, deadline)
    if isinstance(answer, Replayed):
        return Created(answer.session_id, answer.resource.encode(), True)
    session_id, worker_id = answer.session_id, answer.worker_id
    if answer.tries > 1:
        # Erasable fields are bound to the session id, so they are encrypted again under the first request's id.
        request = await _prepare(ctx, call, session_id)
    event = _created_event(request.created, worker_id, answer.event_id, answer.created_ms, call)
    try:
        with tracing.begin(f"send {SESSIONS.name}", call.span.traceparent, "producer", _KAFKA):
            await ctx.producer.send(SESSIONS, event, min(SEND_TIMEOUT_S, deadline.left_s - _ABANDONING_S))
    except UnknownOutcome as unknown:
        await _abandon(ctx, call, answer, held_since)
        raise LogUnavailable from unknown
    if _clock() - held_since >= HELD_S:
        await _look_again(ctx, session_id)
    ctx.acknowledged.append((session_id, call.idempotency_key is not None))
    if answer.public_key is not None:
        await enqueue(ctx, assignments.assign(request.task, 1, worker_id, answer.public_key, SOURCE))
    return Created(session_id, answer.resource.encode(), False, answer.rate)


async def earlier(ctx: Context, caller: Principal, raw: bytes, idempotency_key: str | None) -> Created | None:
    """The stored 201 of the same request before: it is the answer even when the request could not be admitted any more.

    Raises InFlight while its outcome is open.
    """
    body_hmac = _peppered(ctx, caller, raw)
    async with ctx.pool.connection() as connection:
        found = await admissions.earlier(
            connection, caller.account_id, body_hmac, idempotency_key, now_ms() - _SAME_BODY_MS
        )
        if found is None or (found[1] is not None and not await admissions.stands(connection, found[0])):
            return None
    session_id, stored = found
    if stored is None:
        raise InFlight
    return Created(session_id, stored.encode(), True)


def _clock() -> float:
    """Runs on while this process is stopped and while the machine sleeps."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)


async def _prepare(ctx: Context, call: Call, resumed_id: str | None = None) -> _Request:
    """`resumed_id`: the session of a first request that died; its ids and its key are used again."""
    caller, body = call.caller, call.body
    session_id, event_id, at = resumed_id or new_id(SESSION), new_id(EVENT), now_ms()
    limit = caller.session_time_limit_seconds
    duration = min(body.max_duration_seconds or limit, limit)
    idle = body.idle_timeout_seconds or caller.idle_timeout_seconds
    account_key = await ctx.data_keys.of(caller.account_id)
    session_key = account_key.wrap(DataKey.generate(), session_id)
    if resumed_id is not None:
        async with ctx.pool.connection() as connection:
            session_key = await data_keys.keep(connection, session_id, session_key)
    key = account_key.unwrap(session_key, session_id)
    clear = _erasable(call)
    hidden = {name: key.encrypt(text, field_aad(session_id, name)) for name, text in clear.items()}
    rate = (await ctx.prices.in_force(at)).rate(body.quality)
    created = _event_data(call, session_id, duration, idle, hidden, rate)
    first = evolve(None, _created_event(created, "", event_id, at, call), at)
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
        runtime_type=call.avatar.runtime_type,
        face=call.avatar.face,
        shape=call.avatar.shape,
        label=caller.label,
        traceparent=call.span.traceparent,
        mood=moods.parse((call.body.metadata or {}).get(moods.MOOD_KEY)) or "neutral",
    )
    target = "\0".join((transport.url, transport.room_name, call.identity)).encode()
    return _Request(
        call=call,
        task=task,
        created=created,
        event_id=event_id,
        resource=orjson.dumps(resource_of(first.state, clear)).decode(),
        target_hash=_peppered(ctx, caller, target),
        body_hmac=_peppered(ctx, caller, call.raw),
        session_key=session_key,
    )


def _peppered(ctx: Context, caller: Principal, content: bytes) -> bytes:
    """Covers the account, so that one index finds it and no account finds another's."""
    pepper = ctx.settings.key_pepper.get_secret_value().encode()
    return hmac.digest(pepper, caller.account_id.encode() + b"\0" + content, "sha256")


def _erasable(call: Call) -> dict[str, str]:
    """The fields that are encrypted in the log, by name, in the clear."""
    transport = call.body.transport
    fields = {
        "url": transport.url,
        "room_name": transport.room_name,
        "worker_identity": call.identity,
        "metadata": orjson.dumps(call.body.metadata or {}).decode(),
    }
    label = call.caller.label
    optional = {"subscribe_to_identity": transport.subscribe_to_identity, "label": label and label.text}
    return fields | {name: text for name, text in optional.items() if text}


def _event_data(
    call: Call, session_id: str, duration: int, idle: int, hidden: Mapping[str, Encrypted], rate: Rate
) -> SessionCreated:
    caller, body = call.caller, call.body
    transport = body.transport
    return SessionCreated(
        session_id=session_id,
        rules=RULES,
        account_id=caller.account_id,
        api_key_id=caller.key_id,
        avatar_id=body.avatar_id,
        transport=EventTransport(
            type=transport.type,
            url=hidden["url"],
            room_name=hidden["room_name"],
            worker_identity=hidden["worker_identity"],
            audio_source=transport.audio_source,
            subscribe_to_identity=hidden.get("subscribe_to_identity"),
            synthetic_audio_if_no_input=transport.synthetic_audio_if_no_input,
        ),
        quality=body.quality,
        max_duration_seconds=duration,
        idle_timeout_seconds=idle,
        metadata=hidden["metadata"],
        plan=caller.plan,
        rate=rate,
        worker_id="",
        attempt=1,
        label=EventLabel(hidden["label"], caller.label.corner) if caller.label is not None else None,
    )


def _created_event(data: SessionCreated, worker_id: str, event_id: str, at: int, call: Call) -> Event:
    stamped = new_event(
        structs.replace(data, worker_id=worker_id),
        source=SOURCE,
        subject=data.session_id,
        account=data.account_id,
        correlation=call.request_id,
        traceparent=call.span.traceparent,
        event_id=event_id,
    )
    return structs.replace(stamped, time_ms=at)


async def _admit(ctx: Context, request: _Request, deadline: Deadline) -> Admitted | Replayed:
    """Ask `admit()` until it decides: waits for a slot, for a twin's answer, or for a predecessor's end.

    Every way round the loop waits a little and ends with the deadline.
    """
    slots, twins = deadline.within(ctx.settings.capacity_wait_seconds), deadline.within(_TWIN_WAIT_S)
    superseded: str | None = None
    while True:
        try:
            answer = await _ask(ctx, request, deadline)
        except admitting.NoFreeSlot as refused:
            if slots.over or not await ctx.turns.take(request.task.account_id, request.task.quality, slots.left_s):
                raise AtCapacity from refused
            continue
        except admitting.PlanCapReached as refused:
            raise ConcurrencyExceeded from refused
        except admitting.KeyCapReached as refused:
            raise ConcurrencyExceeded(
                "This key has as many live sessions as it may. End one, or use another key."
            ) from refused
        except admitting.NothingLeft as refused:
            raise (NoCredits() if refused.credits else CapReached()) from refused
        except admitting.RateExceeded as refused:
            raise rates.limited(refused.rate, refused.retry_s) from refused
        except admitting.KeyRevoked as refused:
            raise KeyRevoked from refused
        match answer:
            case Admitted() | Replayed():
                return answer
            case admitting.KeyReused():
                raise KeyReused
            case admitting.Superseding(session_id) if session_id != superseded:
                superseded = session_id
                await supersede(ctx, request.call.caller.account_id, session_id, request.call.request_id, twins)
        if twins.over:
            raise InFlight
        await asyncio.sleep(_RETRY_S / 2)


async def _ask(ctx: Context, request: _Request, deadline: Deadline) -> Answer:
    call, task = request.call, request.task
    master, wrapped = ctx.keyring.wrap(dump_task(task), task.session_id)
    async with (
        ctx.lanes.one(task.account_id, min(_IN_LINE_S, deadline.left_s)),
        ctx.pool.connection(deadline.left_s, within_s=deadline.left_s) as connection,
    ):
        return await admitting.admit(
            connection,
            Application(
                key_id=call.caller.key_id,
                account_id=call.caller.account_id,
                session_id=task.session_id,
                event_id=request.event_id,
                quality=task.quality,
                target_hash=request.target_hash,
                body_hmac=request.body_hmac,
                idempotency_key=call.idempotency_key,
                created_ms=task.accepted_ms,
                resource=request.resource,
                secret_key=master,
                task=wrapped,
                session_key=request.session_key,
            ),
        )


async def _look_again(ctx: Context, session_id: str) -> None:
    """This process was paused: the roster may have abandoned the create, and its end may be in the log before it."""
    async with ctx.pool.connection() as connection:
        if not await admissions.stands(connection, session_id):
            raise LogUnavailable


async def _abandon(ctx: Context, call: Call, answer: Admitted, held_since: float) -> None:
    """The create's outcome is unknown. An end goes behind it in the same producer, and the slot is freed. Where another
    producer has taken its place, the end may come first: the fold cancels then, too.

    Not when a retry has taken over meanwhile: the session is its own by now. If the database fails, nobody can have
    taken over within HELD_S, so the end is appended all the same; the roster settles the admission.
    """
    session_id, account_id = answer.session_id, call.caller.account_id
    try:
        async with ctx.pool.connection(_ABANDONING_S / 2, within_s=_ABANDONING_S / 2) as connection:
            async with connection.transaction():
                ours = await admissions.abandon(connection, account_id, session_id, tries=answer.tries)
                if ours:
                    await admissions.release(connection, [session_id], hidden=[session_id])
    except DatabaseUnreachable:
        log.warning("unknown create left to the roster", session_id=session_id)
        ours = _clock() - held_since < HELD_S
    if not ours:
        return
    data = SessionEndRequested(session_id, by="api", reason=HIDDEN_REASON)
    end = new_event(
        data,
        source=SOURCE,
        subject=session_id,
        account=account_id,
        correlation=call.request_id,
        traceparent=call.span.traceparent,
    )
    try:
        behind = await ctx.producer.enqueue(SESSIONS, end, timeout_s=_ABANDONING_S / 2)
        behind.add_done_callback(warn_if_failed)
    except UnknownOutcome:
        log.warning("end of an unknown create not enqueued", session_id=session_id)
