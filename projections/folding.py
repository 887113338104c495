"""From records to transactions: fold a batch, then store rows, states and checkpoint together.

Several projections can share one fold (`greenroom project all`). Each keeps its own checkpoint and states, so it can go
on alone in another process; one that is ahead of the others is given nothing until they have caught up, and one that
another process runs is left to it without the others noticing.
"""

from __future__ import annotations

import asyncio
import time
from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Generic, NamedTuple, TypeVar

from events import dead_letters
from events.codec import Event, Malformed, Record, Unknown
from events.consumer import Batches, Recoverable
from events.fold import Evolved, Fold, Rejected
from events.session_state import State
from projections import checkpoints, parked
from projections.checkpoints import Bound, Claims, Fenced, Step
from projections.parked import Parking
from projections.progress import Progress
from store.database import Connection, DatabaseUnreachable, Pool

S = TypeVar("S")

_CACHED_STATES = 10_000


class Change(NamedTuple, Generic[S]):
    """An accepted event and what it did."""

    event: Event
    evolved: Evolved[S]
    partition: int
    offset: int
    append_ms: int


class Refusal(NamedTuple, Generic[S]):
    """A readable event that the fold rejected."""

    event: Event
    rejected: Rejected
    state: S | None
    offset: int
    partition: int


@dataclass
class Folded(Generic[S]):
    """One batch, folded. `states`: subject → the final state of each that changed."""

    changes: list[Change[S]] = field(default_factory=list)
    refusals: list[Refusal[S]] = field(default_factory=list)
    states: dict[str, S] = field(default_factory=dict)
    partition_of: dict[str, int] = field(default_factory=dict)
    parkings: list[Parking] = field(default_factory=list)
    malformed: list[tuple[Record, str]] = field(default_factory=list)
    begins: dict[int, int] = field(default_factory=dict)
    """Partition → offset of its first record."""
    ends: dict[int, int] = field(default_factory=dict)
    """Partition → offset after its last record."""
    appended_ms: dict[int, int] = field(default_factory=dict)
    """Partition → append time of its last record."""
    stored: dict[str, bytes] = field(default_factory=dict)
    """Stored forms of states, made once for all projections that share the batch (`states.stored`)."""

    def since(self, positions: Mapping[int, int]) -> Folded[S]:
        """What is new for a projection that has already seen the log up to `positions`."""
        changes = [c for c in self.changes if c.offset >= positions.get(c.partition, 0)]
        changed = {c.event.subject for c in changes}
        return Folded(
            changes=changes,
            refusals=[r for r in self.refusals if r.offset >= positions.get(r.partition, 0)],
            states={subject: state for subject, state in self.states.items() if subject in changed},
            partition_of=self.partition_of,
            parkings=[p for p in self.parkings if p.offset >= positions.get(p.partition, 0)],
            malformed=[m for m in self.malformed if m[0].offset >= positions.get(m[0].partition, 0)],
            begins=self.begins,
            ends=self.ends,
            appended_ms=self.appended_ms,
            stored=self.stored,
        )


class Projection(ABC, Generic[S]):
    """What a consumer of the log adds to the fold; reactors are made of the same parts.

    For each batch: `prepare`, then in one transaction `apply` and the checkpoint, then `committed`.
    """

    name: str
    """That of its checkpoints: projections/names.py."""

    heard_every_s: float = 0.5
    """How often its reader tells the handler where the log ends, at least."""

    @cached_property
    def progress(self) -> Progress:
        """Of this process, whichever handlers it has been part of."""
        return Progress(self.name, self.heard_every_s)

    async def assigned(self, connection: Connection, partitions: frozenset[int]) -> None:
        """These partitions are mine from now on."""

    @abstractmethod
    async def load(self, connection: Connection, subjects: Sequence[str]) -> dict[str, S]:
        """The states of these as they are stored; those that are not are left out."""

    async def prepare(self, folded: Folded[S]) -> None:
        """What takes time and is no row, before a connection is held. Done again when the batch comes again.

        Raises Recoverable.
        """

    @abstractmethod
    async def apply(self, connection: Connection, folded: Folded[S]) -> None:
        """Write rows and states within the batch's transaction."""

    async def committed(self, folded: Folded[S]) -> None:
        """The transaction is durable. If the process dies before or in here, it is not called again."""


SessionsFolded = Folded[State]
SessionChange = Change[State]


class FoldingHandler(Generic[S]):
    """The `events.consumer.Handler` of a fold's topic.

    While one batch commits, the next one is folded on top of it. A failed commit drops both and everything cached.
    """

    def __init__(self, pool: Pool, fold: Fold[S], projections: Sequence[Projection[S]], topic: str = "") -> None:
        """`topic`: the name that checkpoints are stored under, if not the fold's own."""
        self._pool = pool
        self._fold = fold
        self._projections = projections
        self._topic = topic or fold.topic.name
        self._claims = Claims([p.name for p in projections], self._topic)
        self._cache: dict[str, S | None] = {}
        """None: nothing is stored of this subject."""
        self._parked: dict[str, int] = {}
        """Subject → the offset from which on nobody here reads it."""
        self._pending: asyncio.Task[None] | None = None

    def positions(self) -> Mapping[int, int]:
        return self._claims.positions()

    def saw(self, ends: Mapping[int, int], heard_s: float) -> None:
        for projection in self._projections:
            projection.progress.saw(ends, heard_s)

    async def assigned(self, partitions: frozenset[int], fresh: bool) -> Mapping[int, int]:
        await self.drain()
        self._forget()
        try:
            async with self._pool.connection() as connection:
                places = await self._claims.bind(connection, partitions, fresh)
                self._parked = await parked.since(connection, list(self._claims.of))
                for projection in self._projections:
                    await projection.assigned(connection, frozenset(self._claims.of[projection.name].bound))
        except DatabaseUnreachable as failed:
            raise Recoverable(str(failed)) from failed
        for projection in self._projections:
            claim = self._claims.of[projection.name]
            projection.progress.bound({p: at.next_offset for p, at in claim.bound.items()}, len(claim.lost))
        return places

    async def drain(self) -> None:
        if self._pending is not None:
            pending, self._pending = self._pending, None
            await asyncio.wait([pending])
            if not pending.cancelled() and pending.exception() is not None:
                self._forget()

    async def handle(self, batches: Batches) -> None:
        began = time.perf_counter()
        try:
            folded = await self._fold_batch(batches) if batches else None
            await self._join()
            if folded is not None and folded.ends:
                if len(self._cache) > _CACHED_STATES:
                    self._cache = dict(folded.states)  # all others are stored by now
                self._pending = asyncio.create_task(self._commit(folded, self._take_steps(folded), began))
            await self._claims.stand_by(self._pool, batches)
        except (DatabaseUnreachable, Fenced) as failed:
            self._forget()
            for projection in self._projections:
                projection.progress.dropped()
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

    async def _fold_batch(self, batches: Batches) -> Folded[S]:
        folded: Folded[S] = Folded()
        events = self._decode(batches, folded)
        await self._load({event.subject: partition for event, partition, _, _ in events})
        cache, evolve = self._cache, self._fold.evolve
        for event, partition, offset, append_ms in events:
            subject = event.subject
            outcome = evolve(cache.get(subject), event, append_ms)
            if isinstance(outcome, Rejected):
                folded.refusals.append(Refusal(event, outcome, cache.get(subject), offset, partition))
                continue
            cache[subject] = folded.states[subject] = outcome.state
            folded.partition_of[subject] = partition
            folded.changes.append(Change(event, outcome, partition, offset, append_ms))
        return folded

    def _decode(self, batches: Batches, folded: Folded[S]) -> list[tuple[Event, int, int, int]]:
        """Readable events in order. An unreadable one parks its subject from here on."""
        slowest, decode = self.positions(), self._fold.decode
        events: list[tuple[Event, int, int, int]] = []
        for partition, records in batches.items():
            if partition not in slowest:
                continue
            folded.appended_ms[partition] = records[-1].timestamp
            for record in records:
                if record.offset < slowest[partition]:
                    continue
                folded.begins.setdefault(partition, record.offset)
                folded.ends[partition] = record.offset + 1
                try:
                    event = decode(record)
                except Malformed as broken:
                    folded.malformed.append((record, str(broken)))
                except Unknown as unknown:
                    subject = (record.key or b"").decode(errors="replace")
                    # Also when another projection has parked it already: each has a row of its own.
                    if record.offset <= self._parked.setdefault(subject, record.offset):
                        folded.parkings.append(Parking(subject, partition, record.offset, str(unknown)))
                else:
                    if record.offset < self._parked.get(event.subject, record.offset + 1):
                        events.append((event, partition, record.offset, record.timestamp))
        return events

    async def _load(self, partition_of: Mapping[str, int]) -> None:
        """Bring the subjects' states into the cache; one that nobody has stored becomes None."""
        missing: dict[str, list[str]] = {}
        for subject, partition in partition_of.items():
            if subject not in self._cache:
                missing.setdefault(self._slowest(partition), []).append(subject)
        if not missing:
            return
        async with self._pool.connection() as connection:
            for projection in self._projections:
                subjects = missing.get(projection.name)
                if subjects:
                    stored = await projection.load(connection, subjects)
                    self._cache.update((subject, stored.get(subject)) for subject in subjects)

    def _slowest(self, partition: int) -> str:
        """The projection whose stored states are those that the next record of this partition is folded on."""
        owners = [claim for claim in self._claims.of.values() if partition in claim.bound]
        return min(owners, key=lambda claim: claim.bound[partition].next_offset).name

    # Storing

    def _take_steps(self, folded: Folded[S]) -> list[Step]:
        """Bind the batch to the generation and offsets of now, and count it as done for the next one."""
        steps = []
        for name, claim in self._claims.of.items():
            for partition, end in folded.ends.items():
                at = claim.bound.get(partition)
                if at is not None and end > at.next_offset:
                    steps.append(Step(name, partition, at.generation, at.next_offset, end))
                    claim.bound[partition] = Bound(at.generation, end)
        return steps

    async def _commit(self, folded: Folded[S], steps: list[Step], began: float) -> None:
        found = [(p, self._part(folded, [m for m in steps if m.name == p.name])) for p in self._projections]
        parts = [(projection, part) for projection, part in found if part is not None]
        for projection, part in parts:
            await projection.prepare(part)
        async with self._pool.connection() as connection:
            async with connection.transaction():
                for projection, part in parts:
                    await projection.apply(connection, part)
                    await parked.park(connection, projection.name, self._topic, part.parkings)
                await checkpoints.advance(connection, self._topic, steps)
        for projection, part in parts:
            dead_letters.tell(projection.name, part.malformed)
            projection.progress.advanced(part.ends, part.appended_ms)
            projection.progress.folded(len(part.changes), len(part.refusals), time.perf_counter() - began)
            await projection.committed(part)

    @staticmethod
    def _part(folded: Folded[S], steps: Iterable[Step]) -> Folded[S] | None:
        """The batch as one projection must see it: whole in the usual case."""
        starts = {m.partition: m.from_offset for m in steps}
        if not starts:
            return None
        if len(starts) == len(folded.ends) and all(starts[p] <= begin for p, begin in folded.begins.items()):
            return folded
        return folded.since({p: starts.get(p, folded.ends[p]) for p in folded.ends})
