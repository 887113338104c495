"""What is parked, read again when somebody asks: from where it was parked, in the log's order, while all else goes on.

The owner of a partition does it, between two batches: it alone knows what it has skipped. Rules:
docs/decisions/0028.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Generic, TypeVar

import structlog
from aiokafka.errors import KafkaError

from events.codec import Malformed, Record, Unknown
from events.consumer import Stuck
from events.fold import Fold
from events.reader import LogReader
from events.settings import LogSettings
from projections import checkpoints, parked
from projections.checkpoints import Claims, Step
from projections.folding import Folded, Placed, Projection, fold
from projections.parked import Parked, Parking
from store.database import Connection, Pool

log = structlog.get_logger()

S = TypeVar("S")

_LOOK_EVERY_S = 1.0
_AFTER_FAILURE_S = 5.0
_PAUSE_S = 0.1
"""How long the live batches wait for what is ready, at a time; at least for one subject."""
_AT_ONCE = 100
_MOST_BYTES = 128 * 2**20
_AROUND = 2000
"""Of a record in memory what is not its bytes."""

TOO_LARGE = f"its records take more than {_MOST_BYTES >> 20} MiB"


class _TooMuch(Exception):
    """The records of a round do not fit."""


@dataclass
class _Round:
    """Subjects of one partition on their way back. `since`: from here on the handler hands over what it skips."""

    partition: int
    begin: int
    since: int
    records: dict[str, list[Record]]
    size: int = 0
    reading: asyncio.Task[None] | None = None
    ready: list[str] = field(default_factory=list)

    def keep(self, subject: str, record: Record) -> None:
        """Raises _TooMuch."""
        self.records[subject].append(record)
        self.size += sum(len(name) + len(value or b"") for name, value in record.headers) + len(record.value or b"")
        self.size += _AROUND
        if self.size > _MOST_BYTES:
            raise _TooMuch


class Retries(Generic[S]):
    """Those of one handler. Its own state may be lost at any time: the rows say what is still asked for.

    A round reads the subjects' records up to where the handler stood, in the background; from there on the handler
    hands over each one that it skips. So when the round is ready nothing lies between the two.
    """

    def __init__(
        self,
        settings: LogSettings | None,
        pool: Pool,
        fold: Fold[S],
        projections: Sequence[Projection[S]],
        claims: Claims,
        topic: str,
    ) -> None:
        self._settings = settings
        self._pool = pool
        self._fold = fold
        self._projections = projections
        self._claims = claims
        self._topic = topic
        self._round: _Round | None = None
        self._at_once = _AT_ONCE
        self._look_at = 0.0

    @property
    def ready(self) -> bool:
        """Whether something can be folded now."""
        return self._round is not None and self._round.reading is not None and self._round.reading.done()

    async def forget(self) -> None:
        """The partitions, or the batch, are gone: what is asked for begins anew."""
        if self._round is not None and (reading := self._round.reading) is not None:
            reading.cancel()
            await asyncio.wait([reading])
            if not reading.cancelled():
                reading.exception()  # nobody else asks
        self._round = None

    def skipped(self, subject: str, record: Record) -> None:
        """The handler leaves this one alone."""
        going = self._round
        if going is None or record.offset < going.since or subject not in going.records:
            return
        try:
            going.keep(subject, record)
        except _TooMuch:
            if going.reading is not None:
                going.reading.cancel()  # `carry_out` sees to it

    async def look(self) -> None:
        """Begin what is asked for. Between two batches: what is bound now is what was read so far.

        Not where one of us is ahead: what it has skipped the others read only later, and it would go without.
        """
        if self._settings is None or self._round is not None or time.monotonic() < self._look_at:
            return
        self._look_at = time.monotonic() + _LOOK_EVERY_S
        consumers, even = list(self._claims.of), self._claims.even()
        async with self._pool.connection() as connection:
            rows = await parked.asked(connection, consumers, self._topic, even, self._at_once)
            asked = [row.parking for row in rows if self._owns(row)]
            if not asked:
                return
            partition = asked[0].partition
            chosen = list(dict.fromkeys(each.subject for each in asked if each.partition == partition))
            found = [row for each in chosen for row in await parked.of(connection, consumers, each)]
        begin = min(row.parking.offset for row in found if self._owns(row))
        since = max(begin, self._claims.positions()[partition])
        self._round = _Round(partition, begin, since, {subject: [] for subject in chosen}, ready=chosen)
        self._round.reading = asyncio.create_task(self._read(self._settings, self._round))

    def _owns(self, row: Parked) -> bool:
        return row.topic == self._topic and row.parking.partition in self._claims.of[row.consumer].bound

    async def _read(self, settings: LogSettings, going: _Round) -> None:
        """What was skipped before the handler began to hand it over. Raises KafkaError, TimeoutError, Stuck."""
        earlier: dict[str, list[Record]] = {subject: [] for subject in going.records}
        wanted = {subject.encode(): subject for subject in earlier}
        before = _Round(going.partition, going.begin, going.since, earlier)
        async with LogReader(settings, self._fold.topic) as reader:
            async for records in reader.read(going.partition, going.begin, going.since):
                for record in records:
                    if (subject := wanted.get(record.key or b"")) is not None:
                        before.keep(subject, record)
        for subject, records in earlier.items():
            going.records[subject] = records + going.records[subject]
        going.size += before.size

    async def carry_out(self) -> dict[str, int | None]:
        """Fold what is ready, and store it with its unparking, a transaction for each subject.

        Returns subject → the offset from which on it is parked now; None: it is not. No batch may be under way.
        Raises DatabaseUnreachable, Fenced: then nothing of that subject is stored. If the process dies in here, each
        subject is either back with all that was skipped, or parked as before.
        """
        going = self._round
        assert going is not None
        if not await self._came(going):
            return {}
        done: dict[str, int | None] = {}
        until = time.monotonic() + _PAUSE_S
        while going.ready:
            subject = going.ready.pop(0)
            records = going.records.pop(subject)
            done[subject] = await self._refold(subject, going.partition, records)
            if time.monotonic() > until:
                break
        if not going.ready:
            self._round, self._at_once = None, min(_AT_ONCE, 2 * self._at_once)
        return done

    async def _came(self, going: _Round) -> bool:
        """Whether the round's records are there. If not it is given up, to begin anew."""
        assert going.reading is not None
        try:
            await going.reading
        except (_TooMuch, asyncio.CancelledError):
            self._round = None
            if len(going.records) > 1:
                self._at_once = max(1, self._at_once // 2)
            else:
                await self._refuse(*going.records)
        except (KafkaError, TimeoutError, Stuck) as failed:
            log.warning("parked records cannot be read", partition=going.partition, error=repr(failed))
            self._round, self._look_at = None, time.monotonic() + _AFTER_FAILURE_S
        else:
            return True
        return False

    async def _refuse(self, subject: str) -> None:
        log.error("parked subject too large", subject=subject)
        async with self._pool.connection() as connection:
            await parked.refuse(connection, list(self._claims.of), subject, TOO_LARGE)

    async def _refold(self, subject: str, partition: int, records: Sequence[Record]) -> int | None:
        """For each projection of ours that has it parked. Returns the offset that it is parked from now, if it is."""
        async with self._pool.connection() as connection:
            rows = [row for row in await parked.of(connection, list(self._claims.of), subject) if self._owns(row)]
            parts = [(row, *await self._part(connection, row, records)) for row in rows]
        for _, projection, folded, _ in parts:
            await projection.prepare(folded)
        async with self._pool.connection() as connection, connection.transaction():
            for row, projection, folded, still in parts:
                await projection.apply(connection, folded)
                await parked.settle(connection, row.consumer, subject, still)
            await checkpoints.advance(connection, self._topic, [self._stand(row.consumer, partition) for row in rows])
        for _, projection, folded, _ in parts:
            await projection.committed(folded)
        return min((still.offset for *_, still in parts if still is not None), default=None)

    def _stand(self, consumer: str, partition: int) -> Step:
        """No step forward, but the same fence: it is still ours, and stands where we folded up to."""
        at = self._claims.of[consumer].bound[partition]
        return Step(consumer, partition, at.generation, at.next_offset, at.next_offset)

    async def _part(
        self, connection: Connection, row: Parked, records: Sequence[Record]
    ) -> tuple[Projection[S], Folded[S], Parking | None]:
        """What one projection has skipped: from where it was parked to where it is, on its own state."""
        projection = next(each for each in self._projections if each.name == row.consumer)
        end = self._claims.of[row.consumer].bound[row.parking.partition].next_offset
        states: dict[str, S | None] = {**await projection.load(connection, [row.parking.subject])}
        return projection, *refold(self._fold, states, row.parking, records, end)


def refold(
    rules: Fold[S], states: dict[str, S | None], parking: Parking, records: Sequence[Record], end: int
) -> tuple[Folded[S], Parking | None]:
    """Fold a subject's records from where it was parked to `end` (exclusive).

    Returns with it where it has to stay parked: at the first record that still cannot be read.
    """
    folded: Folded[S] = Folded(begins={parking.partition: parking.offset}, ends={parking.partition: end})
    events, still = list[Placed](), None
    for record in records:
        if not parking.offset <= record.offset < end:
            continue
        try:
            events.append((rules.decode(record), record.partition, record.offset, record.timestamp))
        except Malformed:
            continue  # counted and copied when it was skipped
        except Unknown as unknown:
            still = parking._replace(offset=record.offset, reason=str(unknown))
            break
    fold(folded, events, states, rules.evolve)
    return folded, still


def first_offsets(rows: Sequence[Parked], bound: Mapping[str, Mapping[int, object]]) -> tuple[dict[str, int], set[str]]:
    """Of the partitions that are `bound` (consumer → partition): subject → the first offset that somebody leaves alone;
    and the subjects that some, but not all, of those who have bound its partition leave alone."""
    first, by, place = dict[str, int](), dict[str, set[str]](), dict[str, int]()
    for row in rows:
        subject, partition = row.parking.subject, row.parking.partition
        if partition in bound[row.consumer]:
            first[subject] = min(row.parking.offset, first.get(subject, row.parking.offset))
            by.setdefault(subject, set()).add(row.consumer)
            place[subject] = partition
    owners = {subject: {name for name, places in bound.items() if place[subject] in places} for subject in first}
    return first, {subject for subject in first if by[subject] != owners[subject]}
