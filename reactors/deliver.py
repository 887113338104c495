"""`greenroom deliver`: sends what the fan-out inserted, signed, with retries. Rules: docs/reference/webhooks.md.

It works in rounds: what has succeeded since the last one is stored in one statement, then what is due is claimed for
the places that this has freed. If the process dies after an answer and before it is stored, the delivery is sent again
with the same `webhook-id`.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from typing import TypeVar

import structlog

from events.sealing import Keyring
from reactors import metrics
from reactors.sending import Hindered, Sender
from reactors.telling import tell, told_disabled
from schemas.background import Background
from store import deliveries
from store.database import Connection, DatabaseUnreachable, Pool, listen
from store.deliveries import Attempt, Due
from store.resolving import Resolver, WebhookHosts
from store.settings import WebhookSettings

log = structlog.get_logger()

_AT_ONCE = 256
"""Attempts of this process. An account has a share of them: deliveries.PER_ACCOUNT."""
_STORE_WITHIN_S = 6.0
"""Twice this, which what has ended may wait, and the attempt before it end within the lease."""
_KEPT_S = 24.0
"""From the beginning of an attempt: thereafter it falls due again before it could be stored."""
_POLL_S = 2.0
_COUNT_EVERY_S = 15.0
_PAUSE_S = 0.01
_LONGEST_PAUSE_S = 0.03
_READY_ROUND_S = 30.0

T = TypeVar("T")


class Deliverer:
    """Claims due deliveries and sends them. Any number of these processes can run."""

    def __init__(self, pool: Pool, keyring: Keyring, settings: WebhookSettings) -> None:
        self._pool = pool
        self._keyring = keyring
        self._settings = settings
        self._wake = asyncio.Event()
        self._claimed: dict[str, Due] = {}
        self._succeeded: list[tuple[Due, Attempt]] = []
        """What waits to be stored; it has its place until then."""
        self._running = Background()
        self._beside = Background()
        self._round_at = time.monotonic()
        metrics.IN_FLIGHT.set_function(lambda: len(self._claimed))
        metrics.ROUND_AGE.set_function(lambda: time.monotonic() - self._round_at)

    @property
    def missing(self) -> list[str]:
        """For readiness: a round waits for the database up to some seconds, thrice."""
        since = time.monotonic() - self._round_at
        return [f"no round has begun for {since:.0f} s"] if since > _READY_ROUND_S else []

    async def run(self) -> None:
        listener = asyncio.create_task(
            listen(self._settings.database_url, {"delivery_due": lambda _: self._wake.set()})
        )
        self._beside.spawn(self._count(), "count")
        try:
            async with Resolver(self._settings.nameservers) as resolver:
                await self._work(Sender(self._keyring, WebhookHosts(self._settings, resolver)))
        finally:
            listener.cancel()
            await self._beside.cancel()
            await self._let_go()
            await asyncio.gather(listener, return_exceptions=True)

    async def _work(self, sender: Sender) -> None:
        swept_at = 0.0
        while True:
            self._wake.clear()
            began = self._round_at = time.monotonic()
            if began - swept_at > _POLL_S:
                await self._database(deliveries.give_up_disabled)
                swept_at = began
            await self._store()
            claimed = await self._claim()
            for due in claimed:
                self._running.spawn(self._deliver(sender, due), "deliver")
            # The database has as long a rest as it had work, however fast attempts end. But not for long: under load
            # most of the time that it seems to take is our own, and places would stay empty meanwhile.
            await asyncio.sleep(min(max(_PAUSE_S, time.monotonic() - began), _LONGEST_PAUSE_S))
            if not claimed and not self._succeeded:
                await self._sleep()

    async def _count(self) -> None:
        """For the metrics; beside the rounds, which must not wait for it."""
        while True:
            found = await self._database(deliveries.backlog)
            if found is not None:
                metrics.PENDING.set(found[0])
                metrics.OLDEST_DUE.set(found[1])
            await asyncio.sleep(_COUNT_EVERY_S)

    async def _sleep(self) -> None:
        try:
            async with asyncio.timeout(_POLL_S):
                await self._wake.wait()
        except TimeoutError:
            return

    async def _store(self) -> None:
        """While the database is away they wait, in their places, until they fall due again and are sent again."""
        succeeded, self._succeeded = self._succeeded, []
        if not succeeded or await self._database(lambda c: deliveries.record_delivered(c, succeeded)) is not None:
            return
        latest = datetime.now(UTC) - timedelta(seconds=_KEPT_S)
        self._succeeded += [(due, attempt) for due, attempt in succeeded if attempt.at > latest]

    async def _claim(self) -> list[Due]:
        """Who is stopped amidst it waits for what was claimed, to give it back."""
        free = _AT_ONCE - len(self._claimed) - len(self._succeeded)
        if free <= 0:
            return []
        taking = asyncio.create_task(self._take(free))
        try:
            return await asyncio.shield(taking)
        except asyncio.CancelledError:
            await taking
            raise

    async def _take(self, most: int) -> list[Due]:
        claimed = await self._database(lambda c: deliveries.claim(c, most)) or []
        self._claimed |= {due.id: due for due in claimed}
        return claimed

    async def _deliver(self, sender: Sender, due: Due) -> None:
        """If the process dies before an attempt is stored, it is made again when the lease is over."""
        try:
            if due.hindered > deliveries.MOST_HINDERED:
                log.error("delivery given up: hindered too often", delivery=due.id)
                metrics.GIVEN_UP.inc()
                await self._database(lambda c: deliveries.give_up_hindered(c, due))
                return
            try:
                attempt = await sender.attempt(due)
            except Hindered as hindered:
                pause_s = deliveries.pause_s(due.hindered)
                log.warning("delivery hindered", delivery=due.id, reason=str(hindered), again_in_s=pause_s)
                metrics.ATTEMPTS.labels("hindered").inc()
                await self._database(lambda c: deliveries.postpone(c, due))
                return
            _measure(due, attempt)
            if attempt.delivered:
                self._succeeded.append((due, attempt))
            else:
                await self._database(lambda c: _record_failed(c, due, attempt))
        finally:
            if self._claimed.get(due.id) is due:
                del self._claimed[due.id]
            self._wake.set()

    async def _let_go(self) -> None:
        """Another process takes over at once what we will not finish; of a killed one, when the lease is over."""
        left = list(self._claimed.values())
        await self._running.cancel()
        await self._store()
        if left:
            await self._database(lambda c: deliveries.give_back(c, left))

    async def _database(self, work: Callable[[Connection], Awaitable[T]]) -> T | None:
        """None when the database is away: what was not stored is done again, and counts nobody's attempt."""
        try:
            async with self._pool.connection(within_s=_STORE_WITHIN_S) as connection:
                return await work(connection)
        except DatabaseUnreachable as failed:
            log.warning("database away; deliveries wait or are sent again", error=repr(failed))
            return None


def _measure(due: Due, attempt: Attempt) -> None:
    metrics.ATTEMPTS.labels("delivered" if attempt.delivered else "failed").inc()
    metrics.SECONDS.observe(attempt.latency_ms / 1000)
    if attempt.delivered and not due.attempts and not due.asked_again:
        metrics.LAG.observe((datetime.now(UTC) - due.created_at).total_seconds())


async def _record_failed(connection: Connection, due: Due, attempt: Attempt) -> None:
    """With what its account is to be told when the endpoint is disabled by it: both, or neither."""
    async with connection.transaction():
        disabled = await deliveries.record_failed(connection, due, attempt)
        if disabled is not None:
            log.warning("endpoint disabled", endpoint=disabled.id, reason=disabled.disabled_reason)
            await tell(connection, [told_disabled(disabled)])
