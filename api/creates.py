"""The body of a create: what is wrong with it, the first thing for an answer, everything for a dry run."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Iterator
from typing import Any

import orjson
from pydantic import ValidationError

from api import avatars, bodies, tokens
from api.context import Context
from api.errors import (
    ApiError,
    AtCapacity,
    ConcurrencyExceeded,
    NoCredits,
    TransportUnsupported,
    Unprocessable,
    every_problem,
)
from schemas import moods
from schemas.jsons import JsonObject
from schemas.sessions import MAX_METADATA_BYTES, RESERVED, CreateSession, DryRun, Price, Problem, Warned
from schemas.times import now_ms
from store import admitting
from store.accounts import Principal

_RESERVED = ("websocket", "pipecat")
_CREDIT_MILLI = 1000


def parse(raw: bytes) -> CreateSession:
    """Raises MalformedJson, BodyTooLarge, TransportUnsupported or Unprocessable."""
    content = bodies.parse(raw)
    for problem in _of_transport(content.get("transport")):
        raise problem
    body = bodies.validate(content, CreateSession)
    for problem in _of_metadata(body.metadata or {}):
        raise problem
    return body


def _of_transport(transport: Any) -> Iterator[ApiError]:
    """Reserved transports are told before the schema is looked at, whatever other fields they bring."""
    if not isinstance(transport, dict) or transport.get("type", "livekit") == "livekit":
        return
    kind = transport["type"]
    if kind in _RESERVED:
        yield TransportUnsupported(f"transport.type={kind} is reserved and not yet available.", param="transport.type")
    else:
        yield Unprocessable("transport.type must be livekit.", code="transport.type.invalid", param="transport.type")


def _of_metadata(metadata: JsonObject) -> Iterator[ApiError]:
    for name in metadata:
        if name.startswith(RESERVED):
            yield Unprocessable(
                "Metadata keys that start with _avatar. are reserved.",
                code="metadata.reserved",
                param=f"metadata.{name}",
            )
    if moods.MOOD_KEY in metadata and moods.parse(metadata[moods.MOOD_KEY]) is None:
        yield Unprocessable(
            "greenroom.mood must be neutral, warm, cheerful, serious or concerned.",
            code="metadata.mood",
            param=f"metadata.{moods.MOOD_KEY}",
        )
    if len(orjson.dumps(metadata)) > MAX_METADATA_BYTES:
        yield Unprocessable("metadata is larger than 8 KB.", code="metadata.too_large", param="metadata")


async def tried(ctx: Context, caller: Principal, content: JsonObject) -> DryRun:
    """Everything that would be refused right now. Reserves nothing."""
    problems = list(_of_transport(content.get("transport")))
    body: CreateSession | None = None
    try:
        body = CreateSession.model_validate(content) if not problems else None
    except ValidationError as failed:
        problems += every_problem(failed)
    if body is not None:
        problems += [problem async for problem in _of_body(ctx, caller, body)]
    return DryRun(
        ok=not problems,
        problems=[
            Problem(status=each.status, type=each.type, code=each.code, message=each.message, param=each.param)
            for each in problems
        ],
        warnings=_warnings(caller, body) if body is not None else [],
        price=await _price(ctx, body) if body is not None else None,
    )


async def _of_body(ctx: Context, caller: Principal, body: CreateSession) -> AsyncIterator[ApiError]:
    for problem in (*_of_metadata(body.metadata or {}), *tokens.problems(body.transport, time.time())):
        yield problem
    for look in (
        ctx.livekit_hosts.check(body.transport.url),
        avatars.usable(ctx, caller.account_id, body.avatar_id),
    ):
        try:
            await look
        except ApiError as problem:
            yield problem
    async with ctx.pool.connection() as connection:
        room = await admitting.room(connection, caller.account_id, caller.key_id, body.quality)
    if not room.left:
        yield NoCredits()
    if room.capped:
        yield ConcurrencyExceeded()
    if not room.free_slot:
        yield AtCapacity()


def _warnings(caller: Principal, body: CreateSession) -> list[Warned]:
    limit = caller.session_time_limit_seconds
    duration = min(body.max_duration_seconds or limit, limit)
    found = [
        Warned(code=f"{tokens.PARAM}.{rule}", message=message, param=tokens.PARAM)
        for rule, message in tokens.warnings(body.transport, time.time(), duration)
    ]
    if body.max_duration_seconds is not None and body.max_duration_seconds > limit:
        message = f"Your plan's sessions last {limit} s at most: this one would, too."
        found.append(Warned(code="max_duration_seconds.clamped", message=message, param="max_duration_seconds"))
    return found


async def _price(ctx: Context, body: CreateSession) -> Price:
    rate = (await ctx.prices.in_force(now_ms())).rate(body.quality)
    return Price(
        rate_card=rate.card,
        billed_as=rate.billed_as,
        multiplier_milli=rate.multiplier_milli,
        credits_per_minute=rate.multiplier_milli / _CREDIT_MILLI,
    )
