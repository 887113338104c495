"""`/console/operator`: what an operator sees of all accounts, with a key that has the scope `operator`."""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated

import msgspec
from aiokafka.errors import KafkaError
from fastapi import APIRouter, Request
from pydantic import Field
from starlette.responses import Response

from api import answers, auth, bodies
from api.console_audits import Audits
from api.context import Context, Ctx
from api.errors import LogUnavailable, ScopeMissing
from events.dead_letters import Letter, letter_of
from events.offsets import end_offsets
from events.reader import LogReader
from events.topics import AVATARS, DEAD_LETTERS, SESSIONS
from projections import overview, parked
from schemas.jsons import JsonObject
from schemas.requests import Strict, Text
from schemas.times import now_ms, to_wire
from store import accounts, slots, workers

router = APIRouter(prefix="/console/operator", include_in_schema=False)
audits = Audits()

_LETTERS = 50
_PARKED = 200
_ASKED = 10_000
"""In one statement: a second of work, and an owner's of a minute."""
_MOST_SUBJECT = 256


async def _operator(request: Request, ctx: Context) -> None:
    """Raises ScopeMissing. No other scope contains this one, `*` neither: an account's key sees its account."""
    if not (await auth.known(request, ctx)).may(accounts.OPERATOR):
        raise ScopeMissing(
            "This key is no operator's. `greenroom keys create --scope operator` makes one, on the machine."
        )


@router.get("")
async def look(request: Request, ctx: Ctx) -> Response:
    """All live windows, workers, slots, lag, what is parked. Without Kafka the lag is null."""
    await _operator(request, ctx)
    try:
        ends = {topic.name: await end_offsets(ctx.settings, topic) for topic in (SESSIONS, AVATARS)}
    except (KafkaError, TimeoutError):
        ends = {}
    async with ctx.pool.connection() as connection:
        found = await overview.overview(connection, now_ms())
        lag = await overview.behind(connection, ends) if ends else None
        known = await workers.known(connection, gone=False)
        total = await slots.total(connection)
        left = await parked.everything(connection, limit=_PARKED)
    silent = {each.worker_id: each.age_ms for each in found.workers}
    told = {
        "live": msgspec.to_builtins(found),
        "lag": None if lag is None else msgspec.to_builtins(lag),
        "slots": {"all": total.slots, "free": total.free},
        "workers": [{**asdict(each), "silent_ms": silent.get(each.worker_id)} for each in known],
        "parked": [_parked(each) for each in left],
        "parked_count": found.parked,
    }
    return answers.json(told, headers=answers.NEVER_KEPT)


def _parked(row: parked.Parked) -> JsonObject:
    place = row.parking
    return {
        "consumer": row.consumer,
        "topic": row.topic,
        "subject": place.subject,
        "partition": place.partition,
        "offset": place.offset,
        "reason": place.reason,
        "asked": row.asked,
    }


class Retry(Strict):
    """Body of `POST /console/operator/parked`. `subject`: a session or an avatar; null: all that is parked."""

    subject: Annotated[Text, Field(min_length=1, max_length=_MOST_SUBJECT)] | None


@router.post("/parked")
async def retry(request: Request, ctx: Ctx) -> Response:
    """Asks the owners to read it again, as `greenroom parked retry` does; how it went is in the next look.

    Of all that is parked as much as the owners look through meanwhile: who asks again asks for the rest.
    """
    await _operator(request, ctx)
    wanted = bodies.validate(bodies.parse(await bodies.read(request)), Retry)
    async with ctx.pool.connection() as connection:
        asked = await parked.ask(connection, wanted.subject, None, _ASKED)
    return answers.json({"asked": len(asked)}, 202, headers=answers.NEVER_KEPT)


@router.get("/dead_letters")
async def dead_letters(request: Request, ctx: Ctx) -> Response:
    """The latest copies, the newest first: where and why, never the bytes. Raises LogUnavailable."""
    await _operator(request, ctx)
    try:
        async with LogReader(ctx.settings, DEAD_LETTERS) as log:
            begin, end = (await log.begins())[0], (await log.ends())[0]
            first = max(begin, end - _LETTERS)
            found = [letter_of(record) async for records in log.read(0, first, end) for record in records]
    except (KafkaError, TimeoutError):
        raise LogUnavailable from None
    told = {"data": [_letter(each) for each in reversed(found)], "total": end - begin}
    return answers.json(told, headers=answers.NEVER_KEPT)


def _letter(letter: Letter) -> JsonObject:
    return {
        "number": letter.copy.offset,
        "copied_at": to_wire(letter.copy.timestamp),
        "topic": letter.topic,
        "partition": letter.partition,
        "offset": letter.offset,
        "reason": letter.reason,
    }


@router.get("/audit")
async def audit(request: Request, ctx: Ctx) -> Response:
    """How far the last one is, or what it found; of this process."""
    await _operator(request, ctx)
    return answers.json(audits.state, headers=answers.NEVER_KEPT)


@router.post("/audit")
async def begin_audit(request: Request, ctx: Ctx) -> Response:
    """Begins one, unless one runs."""
    await _operator(request, ctx)
    audits.begin(ctx.settings)
    return answers.json(audits.state, 202, headers=answers.NEVER_KEPT)
