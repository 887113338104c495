"""Days are sealed after midnight UTC, each once, and published. Rules: docs/decisions/0026."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta

import psycopg
import structlog
from aiokafka.errors import KafkaError
from msgspec import structs

from events.codec import Event, new_event
from events.offsets import offsets_at
from events.producer import EventProducer, UnknownOutcome
from events.settings import LogSettings
from events.signing import SigningKey
from events.topics import SESSIONS, USAGE
from schemas.days import NO_DAY, Cut, Statement, levels, root_of
from schemas.events import DAYS_KEY, UsageDaySealed
from schemas.ids import EVENT, derived_id
from schemas.times import now_ms
from store import days
from store.database import Connection, DatabaseUnreachable, Pool
from store.days import SealedDay

log = structlog.get_logger()

_EVERY_S = 15.0
_AFTER_MIDNIGHT_MS = 60_000
"""By our clock: the broker's, which stamps records, may be a little behind."""
_MOST_S = 900.0
_MOST_BYTES = 1_000_000
"""Of a cut. It is published, and Kafka takes no record of more than 1 MiB."""


class TooManyParked(Exception):
    """The seal cannot name all that are parked: `greenroom parked list` shows them, `greenroom parked retry --all` has
    them read again."""

    def __init__(self) -> None:
        super().__init__(" ".join((self.__doc__ or "").split()))


class Sealer:
    """Any number of these may run: a day is sealed by the first whose transaction commits, and nobody seals it again.

    If the process dies before that commit nothing has happened; after it, whoever looks next publishes what was
    decided, with the same id and the same bytes, until that has been acknowledged once.
    """

    def __init__(
        self,
        settings: LogSettings,
        pool: Pool,
        producer: EventProducer,
        key: SigningKey,
        clock: Callable[[], int] | None = None,
    ) -> None:
        """`clock`: epoch ms, for tests. Else a day is over when both we and the database say so: one clock that is
        wrong seals nothing before its time."""
        self._settings = settings
        self._pool = pool
        self._producer = producer
        self._key = key
        self._clock = clock

    async def run(self) -> None:
        """Look for ever. Beside everything else: nobody waits for a seal."""
        while True:
            try:
                while await self.look():
                    pass
            except (DatabaseUnreachable, KafkaError, TimeoutError, UnknownOutcome) as failed:
                log.warning("days not sealed yet", error=repr(failed))
            except TooManyParked as failed:
                log.error("days not sealed until sessions are read again", error=str(failed))
            except Exception:  # it must go on: the next look may find what this one did not
                log.exception("days not sealed yet")
            await asyncio.sleep(_EVERY_S)

    async def look(self) -> bool:
        """Publish what is sealed, and seal the next day if it is over; returns whether there may be another one.

        Raises DatabaseUnreachable, KafkaError, TimeoutError, UnknownOutcome, TooManyParked.
        """
        await self._publish()
        async with self._pool.connection() as connection:
            before = await days.last(connection)
            day = await _next(connection, before)
            at_ms = self._clock() if self._clock else min(now_ms(), await days.now_ms(connection))
        if day is None or at_ms < _end_ms(day) + _AFTER_MIDNIGHT_MS:
            return False
        found = await offsets_at(self._settings, SESSIONS, _end_ms(day))
        until = [found[partition] for partition in range(SESSIONS.partitions)]
        if before is not None:  # a clock that was set back must not take back what is sealed
            until = [max(now, then) for now, then in zip(until, before.offsets, strict=True)]
        if not await self._seal(day, before, until):
            return False
        await self._publish()
        return True

    async def _seal(self, day: date, before: SealedDay | None, until: list[int]) -> bool:
        try:
            async with self._pool.connection(within_s=_MOST_S) as connection, connection.transaction():
                if not await days.begin(connection) or await days.behind(connection, until):
                    return False
                await self._write(connection, day, before, until)
        except psycopg.errors.UniqueViolation:
            return False  # another process was faster: what it has decided stands
        log.info("day sealed", day=f"{day}")
        return True

    async def _write(self, connection: Connection, day: date, before: SealedDay | None, until: list[int]) -> None:
        since = before.offsets if before is not None else [0] * len(until)
        waiting = before.left_out if before is not None else []
        cut = Cut(await days.left_out(connection, until), tuple(until))
        if len(cut.encoded()) > _MOST_BYTES:  # sealed, it could never be published, nor any day after it
            raise TooManyParked
        digests, count = bytearray(), 0
        async for found in days.leaves(connection, since, until, waiting, cut.left_out):
            await days.add_leaves(connection, day, count, found)
            digests += b"".join(leaf.digest() for _, leaf in found)
            count += len(found)
        tree = await asyncio.to_thread(levels, bytes(digests))
        statement = Statement(
            cut=cut.hash(),
            day=f"{day}",
            leaves=count,
            object="usage_day",
            previous=before.hash if before is not None else NO_DAY,
            root=root_of(tree),
        )
        await days.add(connection, self._signed(day, cut, statement), tree)

    def _signed(self, day: date, cut: Cut, statement: Statement) -> SealedDay:
        return SealedDay(
            day=day,
            leaves=statement.leaves,
            left_out=list(cut.left_out),
            offsets=list(cut.offsets),
            previous=statement.previous,
            root=statement.root,
            hash=statement.hash(),
            key_id=self._key.key_id,
            public_key=self._key.public,
            signature=self._key.sign(statement.encoded()),
            sealed_ms=now_ms(),
            published=False,
        )

    async def _publish(self) -> None:
        async with self._pool.connection() as connection:
            found = await days.unpublished(connection)
        for sealed in found:
            await self._producer.send(USAGE, event_of(sealed))
            async with self._pool.connection() as connection:
                await days.mark_published(connection, sealed.day)


def event_of(sealed: SealedDay) -> Event:
    """The same id and the same bytes, whenever and by whomever it is published."""
    data = UsageDaySealed(
        **structs.asdict(sealed.statement),
        left_out=sealed.left_out,
        offsets=sealed.offsets,
        hash=sealed.hash,
        key_id=sealed.key_id,
        public_key=sealed.public_key,
        signature=sealed.signature,
    )
    event_id = derived_id(EVENT, _end_ms(sealed.day), DAYS_KEY, sealed.hash)
    return structs.replace(
        new_event(data, source="usage", subject=DAYS_KEY, event_id=event_id), time_ms=sealed.sealed_ms
    )


async def _next(connection: Connection, before: SealedDay | None) -> date | None:
    """The day after the last sealed one; else that of the ledger's first entry, if it has any."""
    if before is not None:
        return before.day + timedelta(days=1)
    first_ms = await days.first_entry_ms(connection, SESSIONS.partitions)
    return None if first_ms is None else datetime.fromtimestamp(first_ms / 1000, UTC).date()


def _end_ms(day: date) -> int:
    """Its last midnight, in UTC."""
    after = day + timedelta(days=1)
    return int(datetime(after.year, after.month, after.day, tzinfo=UTC).timestamp()) * 1000
