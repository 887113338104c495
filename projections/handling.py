"""From records to transactions: fold a batch, then store rows, states and checkpoint together.

Several projections can share one fold (`greenroom project all`). Each keeps its own checkpoint and states, so it can go
on alone in another process; one that is ahead of the others is given nothing until they have caught up, and one that
another process runs is left to it without the others noticing.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterable, Mapping, Sequence
from typing import Generic, TypeVar

import structlog
from psycopg.errors import InvalidSchemaName, UndefinedTable

from events import dead_letters
from events.codec import Malformed, Record, Unknown
from events.consumer import Batches, Recoverable
from events.fold import Fold
from events.settings import LogSettings
from projections import checkpoints, parked, versions
from projections.checkpoints import Bound, Claims, Fenced, Step
from projections.folding import Folded, Placed, Projection, fold
from projections.parked import Parking
from projections.retrying import Retries, first_offsets
from store.database import Connection, DatabaseUnreachable, Pool

log = structlog.get_logger()

S = TypeVar("S")

_CACHED_STATES = 10_000
_SLICE = 64
"""Events that are worked on at a time while a commit is under way."""


class FoldingHandler(Generic[S]):
    """The `events.consumer.Handler` of a fold's topic.

    While one batch commits, the next one is folded on top of it. A failed commit drops both and everything cached.
    """

    def __init__(
        self,
        pool: Pool,
        fold: Fold[S],
        projections: Sequence[Projection[S]],
        topic: str = "",
        log: LogSettings | None = None,
    ) -> None:
        """`topic`: the name that checkpoints are stored under, if not the fold's own.

        `log`: where what is parked is read again from; None: nothing is.
        """
        self._pool = pool
        self._fold = fold
        self._projections = projections
        self._topic = topic or fold.topic.name
        self._claims = Claims([p.name for p in projections], self._topic)
        self._retries = Retries(log, pool, fold, projections, self._claims, self._topic)
        self._cache: dict[str, S | None] = {}
        """None: nothing is stored of this subject."""
        self._older: dict[str, S | None] = {}
        """Those of the cache before this one: what is asked for again moves over, the rest goes with the next one."""
        self._parked: dict[str, int] = {}
        """Subject → the offset from which on nobody here reads it."""
        self._partly: set[str] = set()
        """Of these subjects those that not all of us have parked: who has not parks them where it must skip one."""
        self._pending: asyncio.Task[None] | None = None

    def positions(self) -> Mapping[int, int]:
        return self._claims.positions()

    def saw(self, ends: Mapping[int, int], heard_s: float) -> None:
        for projection in self._projections:
            projection.progress.saw(ends, heard_s)

    async def assigned(self, partitions: frozenset[int], fresh: bool) -> Mapping[int, int]:
        await self.drain()
        self._forget()
        await self._retries.forget()
        try:
            async with self._pool.connection() as connection:
                async with connection.transaction():
                    await self._go_over(connection)
                    found = await self._claims.bind(connection, partitions, fresh)
                places = self._claims.take(found)
                bound = {name: claim.bound for name, claim in self._claims.of.items()}
                self._parked, self._partly = first_offsets(await parked.of(connection, list(bound)), bound)
                for projection in self._projections:
                    await projection.assigned(connection, frozenset(self._claims.of[projection.name].bound))
        except DatabaseUnreachable as failed:
            raise Recoverable(str(failed)) from failed
        for projection in self._projections:
            claim = self._claims.of[projection.name]
            projection.progress.bound({p: at.next_offset for p, at in claim.bound.items()}, len(claim.lost))
        return places

    async def _go_over(self, connection: Connection) -> None:
        """To the versions that are active by now, which stay so until this transaction ends. Raises Superseded."""
        for projection in self._projections:
            if projection.version is not None and await versions.changed(connection, projection):
                log.info("gone over", projection=projection.name, schema=projection.version.schema)
                self._claims.of[projection.name].let_go()

    async def drain(self) -> None:
        await self._retries.forget()
        if self._pending is not None:
            pending, self._pending = self._pending, None
            await asyncio.wait([pending])
            if not pending.cancelled() and pending.exception() is not None:
                self._forget()

    async def handle(self, batches: Batches) -> None:
        began = time.perf_counter()
        try:
            if self._retries.ready:
                await self._join()
                await self._read_again()
            folded = await self._fold_batch(batches) if batches else None
            await self._join()
            if folded is not None and folded.ends:
                if len(self._cache) > _CACHED_STATES:
                    self._older, self._cache = self._cache, dict(folded.states)
                self._pending = asyncio.create_task(self._commit(folded, self._take_steps(folded), began))
            await self._claims.stand_by(self._pool, batches)
            if self._parked:
                await self._retries.look()
        except (DatabaseUnreachable, Fenced) as failed:
            self._forget()
            for projection in self._projections:
                projection.progress.dropped()
            raise Recoverable(str(failed)) from failed
        except (UndefinedTable, InvalidSchemaName) as failed:
            self._forget()
            if not await versions.replaced(self._pool, self._projections):
                raise
            raise Recoverable("another version has taken its place") from failed

    async def _read_again(self) -> None:
        """What was parked and asked for: from here on it is like any other, or parked from another offset on."""
        for subject, offset in (await self._retries.carry_out()).items():
            self._cache.pop(subject, None)
            self._older.pop(subject, None)
            self._partly.discard(subject)
            if offset is None:
                self._parked.pop(subject, None)
            else:
                self._parked[subject] = offset

    async def _join(self) -> None:
        """Wait for the commit before; raises what it raised."""
        if self._pending is not None:
            pending, self._pending = self._pending, None
            await pending

    def _forget(self) -> None:
        """Cached states may be ahead of what is stored: never fold on them again."""
        self._cache.clear()
        self._older.clear()

    # Folding

    async def _fold_batch(self, batches: Batches) -> Folded[S]:
        folded: Folded[S] = Folded()
        events = await self._decode(batches, folded)
        await self._load({event.subject: partition for event, partition, _, _ in events})
        for at in range(0, len(events), _SLICE):
            fold(folded, events[at : at + _SLICE], self._cache, self._fold.evolve)
            await self._give_way()
        return folded

    async def _give_way(self) -> None:
        """The commit under way takes some steps of the event loop, and would wait for a whole batch at each."""
        if self._pending is not None:
            await asyncio.sleep(0)

    async def _decode(self, batches: Batches, folded: Folded[S]) -> list[Placed]:
        """Readable events in order. An unreadable one parks its subject from here on."""
        slowest, decode = self.positions(), self._fold.decode
        events: list[Placed] = []
        for partition, records in batches.items():
            fresh = [r for r in records if r.offset >= slowest[partition]] if partition in slowest else ()
            if not fresh:
                continue
            folded.begins[partition], folded.ends[partition] = fresh[0].offset, fresh[-1].offset + 1
            folded.appended_ms[partition] = fresh[-1].timestamp
            for n, record in enumerate(fresh):
                if n % _SLICE == 0:
                    await self._give_way()
                try:
                    event = decode(record)
                except Malformed as broken:
                    folded.malformed.append((record, str(broken)))
                except Unknown as unknown:
                    subject = (record.key or b"").decode(errors="replace")
                    # Also when another projection has parked it already: each has a row of its own.
                    if record.offset <= self._parked.setdefault(subject, record.offset) or subject in self._partly:
                        folded.parkings.append(Parking(subject, partition, record.offset, str(unknown)))
                    self._retries.skipped(subject, record)
                else:
                    if not self._parked or record.offset < self._parked.get(event.subject, record.offset + 1):
                        events.append((event, partition, record.offset, record.timestamp))
                    else:
                        self._skip(event.subject, record, folded)
        return events

    def _skip(self, subject: str, record: Record, folded: Folded[S]) -> None:
        """Parked, and nobody here reads it: who has no row of it yet gets one here, or would lose it."""
        if subject in self._partly:
            folded.parkings.append(Parking(subject, record.partition, record.offset, "parked by others of its process"))
        self._retries.skipped(subject, record)

    async def _load(self, partition_of: Mapping[str, int]) -> None:
        """Bring the subjects' states into the cache; one that nobody has stored becomes None."""
        missing: dict[str, list[str]] = {}
        for subject, partition in partition_of.items():
            if subject in self._cache:
                continue
            if subject in self._older:
                self._cache[subject] = self._older.pop(subject)
            else:
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
