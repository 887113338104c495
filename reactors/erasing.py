"""Erasing a session or an account: step by step, each of which may be done any number of times.

That it is to be done is written down first, so whoever asks again after a crash goes on; nothing below depends on
where that was. The key goes before what was opened with it: from then on nobody writes any of it down again, and what
was written down can be looked for once. What the log tells of it names nobody.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass

from msgspec import Struct

from events.codec import Event, Malformed, Unknown, decode, new_event
from events.producer import EventProducer
from events.settings import LogSettings
from events.topics import ACCOUNTS, SESSIONS, Topic
from events.whole import opened
from projections import avatars
from reactors.telling import erased
from schemas.events import AccountErased, SessionEndRequested, SessionErased
from store import accounts, admissions, credits, data_keys, deliveries, endpoints, erasures, feed, outcomes, uploads
from store.database import Pool
from store.erasures import Erasure

SOURCE = "greenroom/erase"
_BATCH = 500
_LOOK_EVERY_S = 0.2
_RELEASED_WITHIN_S = 120.0
"""Without any news of what is awaited."""
_LEASE_S = 31.0
"""By then nobody is sending a delivery any more that was claimed before."""
_LONG_S = 3600.0
_TOLD = {b"session.erased", b"account.erased"}


class NotReleased(Exception):
    """What the subject holds was not given back in time. Nothing is lost: the next who asks goes on."""


Report = Callable[[str, int], None]
"""Called with a kind and how many more of it are done; kinds as `store.erasures` counts them, and `event`."""


@dataclass(frozen=True)
class Tools:
    """`delete_avatar(account, avatar)`: into the log and out of the lists. `remove_assets(avatar, names)`: all that was
    stored for it, and these blobs, from the folder that is here."""

    pool: Pool
    producer: EventProducer
    delete_avatar: Callable[[str, str], Awaitable[None]]
    remove_assets: Callable[[str, Sequence[str]], None]


async def session(tools: Tools, session_id: str, account_id: str, report: Report, event_id: str | None = None) -> None:
    """A session that is over, as the caller has seen. `event_id`: what the log has told of it with.

    Raises Busy, NotReleased, UnknownOutcome, DatabaseUnreachable.
    """
    async with erasures.alone(tools.pool, session_id):
        erasure = await _begun(tools, session_id, account_id, event_id)
        await _until_released(tools, account_id, session_id)
        async with tools.pool.connection() as connection:
            await data_keys.drop(connection, session_id)
        report("data_keys", 1)
        await _tell(tools, SESSIONS, SessionErased(session_id), erasure)
        report("event", 1)
        report("idempotency_keys", await admissions.forget_answers(tools.pool, session_id=session_id))
        await _feed(tools, session_id, account_id, report)
        await _deliveries(tools, session_id, account_id, report)
        await _done(tools, session_id)


async def account(tools: Tools, account_id: str, report: Report, event_id: str | None = None) -> None:
    """Its live sessions are ended. `event_id`: as above.

    Raises Busy, NotReleased, UnknownOutcome, DatabaseUnreachable, OSError.
    """
    async with erasures.alone(tools.pool, account_id):
        erasure = await _begun(tools, account_id, account_id, event_id)
        async with tools.pool.connection() as connection:
            await accounts.close(connection, account_id)
        report("api_keys", 1)
        await _until_released(tools, account_id)
        report("live_sessions", 1)
        async with tools.pool.connection() as connection:
            if not await accounts.erase(connection, account_id):
                raise NotReleased(account_id)  # a create has just been admitted that had begun before
        report("sessions", 1)
        await _tell(tools, ACCOUNTS, AccountErased(account_id), erasure)
        report("event", 1)
        await _avatars(tools, account_id, report)
        await _endpoints(tools, account_id, report)
        report("feed_events", await feed.erase(tools.pool, account_id))
        report("idempotency_keys", await admissions.forget_answers(tools.pool, account_id=account_id))
        async with tools.pool.connection() as connection:
            await credits.forget_notes(connection, account_id)
        report("credit_notes", 1)
        await _done(tools, account_id)


async def _begun(tools: Tools, subject: str, account_id: str, event_id: str | None) -> Erasure:
    async with tools.pool.connection() as connection:
        return await erasures.begin(connection, subject, account_id, event_id)


async def _done(tools: Tools, subject: str) -> None:
    async with tools.pool.connection() as connection:
        await erasures.done(connection, subject)


async def _tell(tools: Tools, topic: Topic, data: Struct, erasure: Erasure) -> None:
    """Under the erasure's own id: told twice it counts once."""
    event = new_event(
        data, source=SOURCE, subject=erasure.subject, account=erasure.account_id, event_id=erasure.event_id
    )
    await tools.producer.send(topic, event)


async def _until_released(tools: Tools, account_id: str, session_id: str | None = None) -> None:
    """Until the account has no admission any more, which keeps a resource in the clear; what runs is ended: as the API
    does, and the roster carries it out. Or until there is none of this session, which is over."""
    asked, before = set[str](), frozenset[object]()
    since = time.monotonic()
    while True:
        async with tools.pool.connection() as connection:
            await admissions.drop_over(connection)
            held = await admissions.held(connection, account_id)
        held = [each for each in held if session_id in (None, each.session_id)]
        if not held:
            return
        for each in held:
            if session_id is None and each.state == "live" and each.in_the_log and each.session_id not in asked:
                await _end(tools, account_id, each.session_id)
                asked.add(each.session_id)
        if before != (before := frozenset(held)):
            since = time.monotonic()
        elif time.monotonic() - since > _RELEASED_WITHIN_S:
            raise NotReleased(held[0].session_id)
        await asyncio.sleep(_LOOK_EVERY_S)


async def _end(tools: Tools, account_id: str, session_id: str) -> None:
    data = SessionEndRequested(session_id, by="api", reason="api_request")
    await tools.producer.send(SESSIONS, new_event(data, source=SOURCE, subject=session_id, account=account_id))
    async with tools.pool.connection() as connection:
        await admissions.mark_ending(connection, session_id)


async def _feed(tools: Tools, session_id: str, account_id: str, report: Report) -> None:
    after = 0
    while True:
        async with tools.pool.connection() as connection:
            found = await feed.of_session(connection, account_id, session_id, after, _BATCH)
            if not found:
                return
            await feed.rewrite(connection, account_id, {position: erased(body) for position, body in found})
        after = found[-1][0]
        report("feed_events", len(found))


async def _deliveries(tools: Tools, session_id: str, account_id: str, report: Report) -> None:
    """Their bodies, and what their receivers have answered; also to what is being sent at this moment."""
    after, sending = "", list[str]()
    while True:
        async with tools.pool.connection() as connection, connection.transaction():
            await endpoints.lock_all(connection, account_id)
            found = await outcomes.of_session(connection, session_id, after, _BATCH)
            if not found:
                break
            await deliveries.rewrite(connection, {each: erased(body) for each, body, _ in found})
        after = found[-1][0]
        sending += [each for each, _, under_way in found if under_way]
        report("deliveries", len(found))
    since = time.monotonic()
    while sending and time.monotonic() - since < _LEASE_S:
        async with tools.pool.connection() as connection:
            await deliveries.forget_answers(connection, sending)
            sending = await outcomes.under_way(connection, sending)
        if sending:
            await asyncio.sleep(_LOOK_EVERY_S)


async def _avatars(tools: Tools, account_id: str, report: Report) -> None:
    """All that there ever were: of one that was deleted a crash may have left something."""
    async with tools.pool.connection() as connection:
        begun = await uploads.unfinished(connection, account_id)
        known = await avatars.owned(connection, account_id)
    for each in known:
        if not each.deleted:
            await tools.delete_avatar(account_id, each.avatar_id)
        await asyncio.to_thread(tools.remove_assets, each.avatar_id, each.assets)
        report("avatars", int(not each.deleted))
    for avatar_id in begun:
        await asyncio.to_thread(tools.remove_assets, avatar_id, ())
    async with tools.pool.connection() as connection:
        await uploads.forget(connection, account_id)


async def _endpoints(tools: Tools, account_id: str, report: Report) -> None:
    """With their deliveries."""
    async with tools.pool.connection() as connection:
        found = await endpoints.every(connection, account_id)
    for endpoint in found:
        async with tools.pool.connection(within_s=_LONG_S) as connection:
            await deliveries.delete_endpoint(connection, account_id, endpoint.id)
        report("endpoints", 1)


async def told(settings: LogSettings, topic: Topic, progress: Callable[[int, int], None]) -> list[Event]:
    """What the log tells of erasures, from its beginning on: who goes back to an older database does them again.

    `topic`: accounts.v1 or sessions.v1. Raises CannotRead.
    """
    found: list[Event] = []
    async with opened(settings, topic) as log:
        total, done = sum(log.ends.values()), 0
        for partition in range(topic.partitions):
            async for records in log.partition(partition):
                for record in records:
                    if dict(record.headers).get("ce_type") in _TOLD:
                        try:
                            found.append(decode(record))
                        except (Malformed, Unknown):
                            continue  # nobody has erased anything for it
                progress(done := done + len(records), total)
    return found
