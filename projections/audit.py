"""The audit: every usage event recomputed from the log by the same fold, and compared with the ledger.

Two streams in the same order, log and ledger, partition by partition and offset by offset: nothing is held in memory
but the fold states. It reads only.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.errors import KafkaError

from events.codec import Malformed, Record, Unknown
from events.fold import Evolved
from events.session_state import State
from events.sessions import decode_session_event, evolve
from events.settings import LogSettings
from events.stopping import stop
from events.topics import SESSIONS
from projections import checkpoints, names, parked
from projections.folding import Change
from projections.usage import COLUMNS, row
from schemas.usage import GENESIS, UsageFacts, chain
from store.database import Connection, DatabaseUnreachable, Pool, Row

_CATCH_UP_S = 15.0
_FETCH_TIMEOUT_S = 20.0
_STANDS_S = 60.0
_MOST_S = 24 * 3600.0
_POSITION = {name: i for i, name in enumerate(COLUMNS)}
_MOST_NAMED = 1000

Progress = Callable[[int, int], None]


class CannotRead(Exception):
    """The audit has no verdict: the log or the ledger could not be read in full. The message says what to do."""


@dataclass(frozen=True)
class Difference:
    """`kind`: missing, extra, changed or broken_chain."""

    kind: str
    session_id: str
    partition: int
    offset: int
    detail: str


@dataclass
class Verdict:
    events: int = 0
    rejected: int = 0
    malformed: int = 0
    entries: int = 0
    sessions: int = 0
    billable_ms: int = 0
    credit_us: int = 0
    found: int = 0
    differences: list[Difference] = field(default_factory=list)
    """The first ones; `found` counts all."""

    @property
    def equal(self) -> bool:
        return self.found == 0

    def differs(self, kind: str, entry: Row, detail: str) -> None:
        self.found += 1
        if len(self.differences) < _MOST_NAMED:
            place = (entry[_POSITION["partition"]], entry[_POSITION["offset"]])
            self.differences.append(Difference(kind, entry[_POSITION["session_id"]], *place, detail))


@dataclass(frozen=True)
class Scope:
    """Which entries are compared. The whole log is folded in any case."""

    account: str | None = None
    session: str | None = None
    from_ms: int | None = None
    to_ms: int | None = None

    def holds(self, entry: Row) -> bool:
        recorded = entry[_POSITION["recorded_ms"]]
        return (
            self.account in (None, entry[_POSITION["account_id"]])
            and self.session in (None, entry[_POSITION["session_id"]])
            and (self.from_ms is None or recorded >= self.from_ms)
            and (self.to_ms is None or recorded < self.to_ms)
        )


async def audit(settings: LogSettings, pool: Pool, scope: Scope, progress: Progress) -> Verdict:
    """Raises CannotRead."""
    consumer = AIOKafkaConsumer(
        bootstrap_servers=settings.kafka_bootstrap,
        auto_offset_reset="none",
        fetch_max_wait_ms=20,  # a place is read after the long poll of the one before has ended
    )
    try:
        await asyncio.wait_for(consumer.start(), _FETCH_TIMEOUT_S)
    except (TimeoutError, KafkaError) as failed:
        await stop(consumer)
        raise CannotRead("Kafka cannot be reached; start it and audit again.") from failed
    try:
        return await _audit(consumer, settings, pool, scope, progress)
    except (TimeoutError, KafkaError) as failed:
        raise CannotRead(f"the log cannot be read: {failed!r}") from failed
    except DatabaseUnreachable as failed:
        raise CannotRead(f"the ledger cannot be read: {failed}") from failed
    finally:
        await stop(consumer)


async def _audit(
    consumer: AIOKafkaConsumer, settings: LogSettings, pool: Pool, scope: Scope, progress: Progress
) -> Verdict:
    places = [TopicPartition(settings.topic_prefix + SESSIONS.name, p) for p in range(SESSIONS.partitions)]
    consumer.assign(places)
    starts = await asyncio.wait_for(consumer.beginning_offsets(places), _FETCH_TIMEOUT_S)
    ends = await asyncio.wait_for(consumer.end_offsets(places), _FETCH_TIMEOUT_S)
    cut = [place.partition for place in places if starts[place] > 0]
    if cut:
        raise CannotRead(f"the log is incomplete: partitions {cut} do not begin at offset 0.")
    verdict, total = Verdict(), sum(ends.values())
    async with pool.connection(within_s=_MOST_S) as connection:
        await _nothing_parked(connection)
        await _caught_up(connection, {place.partition: end for place, end in ends.items()})
        for place in places:
            async with _snapshot(connection):
                done = await _done(connection, consumer, place)
                log = _entries_of_log(consumer, place, done, verdict, lambda: progress(verdict.events, total))
                await _compare(log, _entries_of_ledger(connection, place.partition), scope, verdict)
        async for found in _entries_elsewhere(connection):
            if scope.holds(found):
                verdict.differs("extra", found, "the log has no such partition")
    progress(total, total)
    return verdict


@asynccontextmanager
async def _snapshot(connection: Connection) -> AsyncIterator[None]:
    """Rows and checkpoint of one moment: while the projection writes on, each row has its record before that."""
    async with connection.transaction():
        await connection.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY")
        await connection.execute("SET LOCAL idle_in_transaction_session_timeout = 0")  # it reads the log in between
        yield


async def _done(connection: Connection, consumer: AIOKafkaConsumer, place: TopicPartition) -> int:
    """Up to where the ledger was made from this partition. It was read there, so the log must still reach that far."""
    done = (await checkpoints.positions(connection, names.USAGE, SESSIONS.name)).get(place.partition, 0)
    end = (await asyncio.wait_for(consumer.end_offsets([place]), _FETCH_TIMEOUT_S))[place]
    if done > end:
        raise CannotRead(
            f"partition {place.partition} ends at offset {end}, and the ledger was made from {done}: "
            "the log has lost its tail; restore it."
        )
    return done


async def _nothing_parked(connection: Connection) -> None:
    if found := await parked.count(connection, names.USAGE):
        raise CannotRead(f"{found} sessions are parked; see `greenroom parked list`.")


async def _caught_up(connection: Connection, ends: dict[int, int]) -> None:
    """Wait a moment for the usage projection: an entry that is still on its way is not missing."""
    deadline = time.monotonic() + _CATCH_UP_S
    while True:
        done = await checkpoints.positions(connection, names.USAGE, SESSIONS.name)
        behind = sum(max(0, end - done.get(partition, 0)) for partition, end in ends.items())
        if not behind:
            return
        if time.monotonic() > deadline:
            raise CannotRead(f"the usage projection is {behind} events behind; start `greenroom project usage`.")
        await asyncio.sleep(0.1)


async def _entries_of_log(
    consumer: AIOKafkaConsumer, place: TopicPartition, end: int, verdict: Verdict, report: Callable[[], None]
) -> AsyncIterator[Row]:
    """What the ledger must hold of one partition, in offset order."""
    states: dict[str, State] = {}
    consumer.assign([place])  # alone: otherwise each new place waits for the long poll of the others
    consumer.seek(place, 0)
    at, moved = 0, time.monotonic()
    while at < end:
        async with asyncio.timeout(_FETCH_TIMEOUT_S):
            records = await consumer.getmany(place, timeout_ms=1000, max_records=5000)
            before, at = at, await consumer.position(place)
        for record in records.get(place, ()):
            if record.offset >= end:
                break
            verdict.events += 1
            entry = _fold(record, states, verdict)
            if entry is not None:
                yield entry
        report()
        if at > before:
            moved = time.monotonic()
        elif time.monotonic() - moved > _STANDS_S:
            raise CannotRead(f"partition {place.partition} cannot be read beyond offset {at}.")
    verdict.sessions += sum(not state.hidden for state in states.values())


def _fold(record: Record, states: dict[str, State], verdict: Verdict) -> Row | None:
    try:
        event = decode_session_event(record)
    except Malformed:
        verdict.malformed += 1
        return None
    except Unknown as unknown:
        raise CannotRead(f"offset {record.offset} of partition {record.partition}: {unknown}.") from unknown
    outcome = evolve(states.get(event.subject), event, record.timestamp)
    if not isinstance(outcome, Evolved):
        verdict.rejected += 1
        return None
    states[event.subject] = outcome.state
    if outcome.usage is None:
        return None
    return row(Change(event, outcome, record.partition, record.offset, record.timestamp))


_ENTRIES = "SELECT {} FROM r.usage_events".format(", ".join(f'"{c}"' for c in COLUMNS))  # noqa: S608 - names of ours


async def _entries_of_ledger(connection: Connection, partition: int) -> AsyncIterator[Row]:
    """All of them: what stands beyond the checkpoint is explained by no record."""
    async with connection.cursor(name="audit", binary=True) as cursor:
        cursor.itersize = 5000
        await cursor.execute(f'{_ENTRIES} WHERE partition = %s ORDER BY "offset", id', [partition])
        async for found in cursor:
            yield found


async def _entries_elsewhere(connection: Connection) -> AsyncIterator[Row]:
    async with connection.transaction(), connection.cursor(name="audit", binary=True) as cursor:
        await cursor.execute(
            f'{_ENTRIES} WHERE partition NOT BETWEEN 0 AND %s ORDER BY partition, "offset"', [SESSIONS.partitions - 1]
        )
        async for found in cursor:
            yield found


async def _compare(log: AsyncIterator[Row], ledger: AsyncIterator[Row], scope: Scope, verdict: Verdict) -> None:
    """Walk both in offset order."""
    offset = _POSITION["offset"]
    hashes: dict[str, str] = {}
    wanted, found = await anext(log, None), await anext(ledger, None)
    while wanted is not None or found is not None:
        if found is None or (wanted is not None and wanted[offset] < found[offset]):
            assert wanted is not None
            if scope.holds(wanted):
                verdict.differs("missing", wanted, "the ledger has no such entry")
            wanted = await anext(log, None)
            continue
        if scope.holds(found):
            _check_chain(found, hashes, verdict)
        hashes[found[_POSITION["session_id"]]] = found[_POSITION["hash"]]  # a chain may begin before the scope
        if wanted is None or found[offset] < wanted[offset]:
            if scope.holds(found):
                verdict.differs("extra", found, "the log has no accepted reading at this offset")
        else:
            if scope.holds(wanted):
                _check_fields(wanted, found, verdict)
            wanted = await anext(log, None)
        found = await anext(ledger, None)


def _check_fields(wanted: Row, found: Row, verdict: Verdict) -> None:
    verdict.entries += 1
    verdict.billable_ms += wanted[_POSITION["billable_ms"]]
    verdict.credit_us += wanted[_POSITION["credit_us"]]
    for name, at in _POSITION.items():
        if wanted[at] != found[at]:
            verdict.differs("changed", found, f"{name} is {found[at]!r}, the log says {wanted[at]!r}")


def _check_chain(found: Row, hashes: dict[str, str], verdict: Verdict) -> None:
    """The rows' own hashes, without the log: each over its facts and the hash before."""
    values = dict(zip(COLUMNS, found, strict=True))
    sid, prev = values["session_id"], values["prev_hash"]
    if prev != hashes.get(sid, GENESIS):
        verdict.differs("broken_chain", found, "prev_hash is not the hash of the entry before")
    facts = {name: values[name] for name in UsageFacts.__struct_fields__}
    facts["flags"] = tuple(filter(None, values["flags"].split(",")))
    if chain(UsageFacts(**facts), prev).hash != values["hash"]:
        verdict.differs("broken_chain", found, "hash is not that of the entry's own fields")
