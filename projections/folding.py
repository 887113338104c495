"""From records to transactions: fold a batch, then store rows, fold states and checkpoint together.

Several projections can share one fold (`greenroom project all`). Each keeps its own checkpoint and fold states, so it
can go on alone in another process; one that is ahead of the others is given nothing until they have caught up, and one
that another process runs is left to it without the others noticing.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple, Protocol

import structlog

from events import dead_letters
from events.codec import Event, Malformed, Record, Unknown
from events.consumer import Batches, LogGap, Recoverable
from events.sessions import Evolved, Rejected, State, decode_session_event, dump_state, evolve, load_state
from events.topics import SESSIONS
from projections import checkpoints
from projections.checkpoints import Bound, Claims, Fenced, Move
from store.database import Connection, DatabaseUnreachable, Pool

log = structlog.get_logger()

_CACHED_SESSIONS = 10_000


class Change(NamedTuple):
    """An accepted event and what it did."""

    event: Event
    evolved: Evolved
    partition: int
    offset: int
    append_ms: int


class Refusal(NamedTuple):
    """A readable event that the fold rejected."""

    event: Event
    rejected: Rejected
    state: State | None
    offset: int
    partition: int


class Parking(NamedTuple):
    session_id: str
    partition: int
    offset: int
    reason: str


@dataclass
class Folded:
    """One batch, folded. `states` holds the final state of each session that changed."""

    changes: list[Change] = field(default_factory=list)
    refusals: list[Refusal] = field(default_factory=list)
    states: dict[str, State] = field(default_factory=dict)
    partition_of: dict[str, int] = field(default_factory=dict)
    parkings: list[Parking] = field(default_factory=list)
    malformed: list[tuple[Record, str]] = field(default_factory=list)
    begins: dict[int, int] = field(default_factory=dict)
    """Partition → offset of its first record."""
    ends: dict[int, int] = field(default_factory=dict)
    """Partition → offset after its last record."""
    _dumps: dict[str, bytes] = field(default_factory=dict)

    def dump(self, sid: str) -> bytes:
        """The stored form of a final state; made once for all projections that share the batch."""
        if sid not in self._dumps:
            self._dumps[sid] = dump_state(self.states[sid])
        return self._dumps[sid]

    def since(self, positions: Mapping[int, int]) -> Folded:
        """What is new for a projection that has already seen the log up to `positions`."""
        changes = [c for c in self.changes if c.offset >= positions.get(c.partition, 0)]
        changed = {c.event.subject for c in changes}
        return Folded(
            changes=changes,
            refusals=[r for r in self.refusals if r.offset >= positions.get(r.partition, 0)],
            states={sid: state for sid, state in self.states.items() if sid in changed},
            partition_of=self.partition_of,
            parkings=[p for p in self.parkings if p.offset >= positions.get(p.partition, 0)],
            malformed=[m for m in self.malformed if m[0].offset >= positions.get(m[0].partition, 0)],
            begins=self.begins,
            ends=self.ends,
        )


class Projection(Protocol):
    """What a projection adds to the fold. `name` is that of its checkpoints."""

    name: str

    async def assigned(self, connection: Connection, partitions: frozenset[int]) -> None:
        """These partitions are mine from now on."""

    async def load(self, connection: Connection, session_ids: Sequence[str]) -> dict[str, bytes]:
        """The stored fold states of these sessions."""

    async def apply(self, connection: Connection, folded: Folded) -> None:
        """Write rows and fold states within the batch's transaction."""

    async def committed(self, folded: Folded) -> None:
        """The transaction is durable. If the process dies before or in here, it is not called again."""


class FoldingHandler:
    """The `events.consumer.Handler` of `sessions.v1`.

    While one batch commits, the next one is folded on top of it. A failed commit drops both and everything cached.
    """

    def __init__(self, pool: Pool, projections: Sequence[Projection], topic: str = SESSIONS.name) -> None:
        self._pool = pool
        self._projections = projections
        self._topic = topic
        self._claims = Claims([p.name for p in projections], topic)
        self._cache: dict[str, State | None] = {}
        """None: nothing is stored of this session."""
        self._parked: dict[str, int] = {}
        """Session → the offset from which on nobody here reads it."""
        self._gap: tuple[int, int] | None = None
        self._pending: asyncio.Task[None] | None = None

    def positions(self) -> Mapping[int, int]:
        return self._claims.positions()

    async def assigned(self, partitions: frozenset[int], fresh: bool) -> Mapping[int, int]:
        await self.drain()
        self._forget()
        try:
            async with self._pool.connection() as connection:
                places = await self._claims.bind(connection, partitions, fresh)
                names = list(self._claims.of)
                cursor = await connection.execute(
                    'SELECT session_id, min("offset") FROM parked WHERE consumer = ANY(%s) GROUP BY 1', [names]
                )
                self._parked = dict(await cursor.fetchall())
                for projection in self._projections:
                    await projection.assigned(connection, frozenset(self._claims.of[projection.name].bound))
        except DatabaseUnreachable as failed:
            raise Recoverable(str(failed)) from failed
        return places

    async def drain(self) -> None:
        if self._pending is not None:
            pending, self._pending = self._pending, None
            await asyncio.wait([pending])
            if not pending.cancelled() and pending.exception() is not None:
                self._forget()

    async def handle(self, batches: Batches) -> None:
        try:
            folded = await self._fold(batches) if batches else None
            await self._join()
            if folded is not None and folded.ends:
                if len(self._cache) > _CACHED_SESSIONS:
                    self._cache = dict(folded.states)  # all others are stored by now
                self._pending = asyncio.create_task(self._commit(folded, self._take_moves(folded)))
            await self._claims.stand_by(self._pool, batches)
        except (DatabaseUnreachable, Fenced) as failed:
            self._forget()
            raise Recoverable(str(failed)) from failed

    async def _join(self) -> None:
        """Wait for the commit before; raises what it raised."""
        if self._pending is not None:
            pending, self._pending = self._pending, None
            await pending

    def _forget(self) -> None:
        """Cached states may be ahead of what is stored: never fold on them again."""
        self._cache.clear()

    # Folding

    async def _fold(self, batches: Batches) -> Folded:
        folded = Folded()
        events = self._decode(batches, folded)
        await self._load({event.subject: partition for event, partition, _, _ in events})
        cache = self._cache
        for event, partition, offset, append_ms in events:
            sid = event.subject
            outcome = evolve(cache.get(sid), event, append_ms)
            if isinstance(outcome, Rejected):
                folded.refusals.append(Refusal(event, outcome, cache.get(sid), offset, partition))
                continue
            cache[sid] = folded.states[sid] = outcome.state
            folded.partition_of[sid] = partition
            folded.changes.append(Change(event, outcome, partition, offset, append_ms))
        return folded

    def _decode(self, batches: Batches, folded: Folded) -> list[tuple[Event, int, int, int]]:
        """Readable events in order. An unreadable one parks its session from here on."""
        slowest = self.positions()
        events: list[tuple[Event, int, int, int]] = []
        for partition, records in batches.items():
            if partition not in slowest:
                continue
            self._refuse_gap(partition, records[0].offset, slowest[partition])
            for record in records:
                if record.offset < slowest[partition]:
                    continue
                folded.begins.setdefault(partition, record.offset)
                folded.ends[partition] = record.offset + 1
                try:
                    event = decode_session_event(record)
                except Malformed as broken:
                    folded.malformed.append((record, str(broken)))
                except Unknown as unknown:
                    sid = (record.key or b"").decode(errors="replace")
                    # Also when another projection has parked it already: each has a row of its own.
                    if record.offset <= self._parked.setdefault(sid, record.offset):
                        folded.parkings.append(Parking(sid, partition, record.offset, str(unknown)))
                else:
                    if record.offset < self._parked.get(event.subject, record.offset + 1):
                        events.append((event, partition, record.offset, record.timestamp))
        return events

    def _refuse_gap(self, partition: int, first: int, expected: int) -> None:
        """The log of sessions has no gaps. A first one means that records were dropped on the way: fetch them again.

        Raises Recoverable; LogGap when the log itself has lost them, since nothing may be skipped in silence.
        """
        if first <= expected:
            return
        if (partition, expected) == self._gap:
            raise LogGap(f"offsets {expected} to {first - 1} of partition {partition} are gone from the log")
        self._gap = (partition, expected)
        raise Recoverable(f"offset {expected} of partition {partition} was expected, {first} came")

    async def _load(self, partition_of: Mapping[str, int]) -> None:
        """Bring the sessions' states into the cache; a session that nobody has stored becomes None."""
        missing: dict[str, list[str]] = {}
        for sid, partition in partition_of.items():
            if sid not in self._cache:
                missing.setdefault(self._slowest(partition), []).append(sid)
        if not missing:
            return
        async with self._pool.connection() as connection:
            for projection in self._projections:
                ids = missing.get(projection.name)
                if ids:
                    stored = await projection.load(connection, ids)
                    self._cache.update((sid, load_state(stored[sid]) if sid in stored else None) for sid in ids)

    def _slowest(self, partition: int) -> str:
        """The projection whose stored states are those that the next record of this partition is folded on."""
        owners = [claim for claim in self._claims.of.values() if partition in claim.bound]
        return min(owners, key=lambda claim: claim.bound[partition].next_offset).name

    # Storing

    def _take_moves(self, folded: Folded) -> list[Move]:
        """Bind the batch to the generation and offsets of now, and count it as done for the next one."""
        moves = []
        for name, claim in self._claims.of.items():
            for partition, end in folded.ends.items():
                at = claim.bound.get(partition)
                if at is not None and end > at.next_offset:
                    moves.append(Move(name, partition, at.generation, at.next_offset, end))
                    claim.bound[partition] = Bound(at.generation, end)
        return moves

    async def _commit(self, folded: Folded, moves: list[Move]) -> None:
        parts = [(p, self._part(folded, [m for m in moves if m.name == p.name])) for p in self._projections]
        async with self._pool.connection() as connection:
            async with connection.transaction():
                for projection, part in parts:
                    if part is not None:
                        await projection.apply(connection, part)
                        await _park(connection, projection.name, self._topic, part.parkings)
                await checkpoints.advance(connection, self._topic, moves)
        for projection, part in parts:
            if part is not None:
                dead_letters.tell(projection.name, part.malformed)
                await projection.committed(part)

    @staticmethod
    def _part(folded: Folded, moves: Iterable[Move]) -> Folded | None:
        """The batch as one projection must see it: whole in the usual case."""
        starts = {m.partition: m.from_offset for m in moves}
        if not starts:
            return None
        if len(starts) == len(folded.ends) and all(starts[p] <= begin for p, begin in folded.begins.items()):
            return folded
        return folded.since({p: starts.get(p, folded.ends[p]) for p in folded.ends})


async def _park(connection: Connection, consumer: str, topic: str, parkings: Sequence[Parking]) -> None:
    for parking in parkings:
        log.warning("session parked", consumer=consumer, session_id=parking.session_id, reason=parking.reason)
        await connection.execute(
            """
            INSERT INTO parked (consumer, topic, partition, session_id, "offset", reason)
            VALUES (%s, %s, %s, %s, %s, %s)
            ON CONFLICT DO NOTHING
            """,
            [consumer, topic, parking.partition, parking.session_id, parking.offset, parking.reason],
        )
