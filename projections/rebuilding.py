"""A projection, filled again from the log beside the live one, whose place it then takes. Rules: docs/decisions/0031.

If the process dies anywhere in here, nothing is half done: before the transaction of `swap` the live one is live, and
the next call goes on filling; after it the new one is, and the next call drops what is left over.
"""

from __future__ import annotations

import asyncio
import shutil
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import structlog
from aiokafka.errors import KafkaError
from psycopg.errors import DeadlockDetected, DiskFull, InsufficientPrivilege, LockNotAvailable
from rich.filesize import decimal

from events.avatars import FOLD as AVATARS_FOLD
from events.consumer import Batches, LogConsumer, LogGap, Recoverable
from events.fold import Fold
from events.reader import LogReader
from events.sessions import FOLD as SESSIONS_FOLD
from events.settings import LogSettings
from projections import checkpoints, names, parked, states, versions
from projections.avatars import AvatarsProjection
from projections.folding import Projection
from projections.handling import FoldingHandler
from projections.history import HistoryProjection
from projections.sessions import SessionsProjection
from projections.usage import UsageProjection
from projections.versions import Superseded, Version
from schemas.background import until_one_ends
from store.database import Connection, DatabaseUnreachable, Pool

log = structlog.get_logger()

_NEAR_S = 1.0
"""So far behind, in time of its own folding, it tries to take the place."""
_LOOK_EVERY_S = 0.5
_CATCH_UP_S = 2.0
"""For so long the live projection waits for the last events, at the most. Its readers do not wait."""
_POLL_S = 0.01
_MOST_PAUSE_S = 15.0
"""Between two tries: the live one stands still for each."""
_LOCK = "500ms"
_VIEWS_LOCK = "200ms"
"""While the views are waited for, their new readers wait behind."""
_LONG_S = 3600.0
_OUTAGE_S = 60.0
_GAP_LOOKS = 4
_SPARE = 1.5
"""Of what the live tables take: the log of the database itself, and states."""
_HERE = ("", "localhost", "127.0.0.1", "::1")
_CLASSES: Mapping[str, Callable[[], Projection[Any]]] = {
    names.SESSIONS: SessionsProjection,
    names.USAGE: UsageProjection,  # no follower, no dead letters: the live one publishes
    names.HISTORY: lambda: HistoryProjection(told=False),
    names.AVATARS: AvatarsProjection,
}

Report = Callable[[int, int], None]
"""(events done, events in all)."""


class NotReplaced(Exception):
    """What was filled may not take the place of the live one. The message says why, and what to do."""


class NoRoom(Exception):
    """The database's disk is full, or would be."""


class _Behind(Exception):
    """The live one was faster."""


def fold_of(name: str) -> Fold[Any]:
    """What the projection `name` reads, and how."""
    return AVATARS_FOLD if name == names.AVATARS else SESSIONS_FOLD


def filling(version: Version) -> Projection[Any]:
    """The projection that writes the tables of this version, under its name, and tells nobody."""
    projection = _CLASSES[version.name]()
    projection.use(version)
    projection.name = version.consumer
    return projection


async def refuse_full_disk(connection: Connection, wanted: Sequence[str]) -> None:
    """Raises NoRoom where the database's disk is on this machine, and would be full before all that is wanted is there.

    Of another machine's disk nobody can be asked: there the first write that fails ends the rebuild.
    """
    need = 0
    for name in wanted:
        standing = await versions.of(connection, name)
        filled = await versions.size(connection, standing.building.schema) if standing.building else 0
        need += max(0, await versions.size(connection, standing.active.schema) - filled)
    if (free := await _free(connection)) is not None and free < need * _SPARE:
        raise NoRoom(
            f"The database's disk has {decimal(free)} free, and this takes about {decimal(round(need * _SPARE))}."
        )


async def _free(connection: Connection) -> int | None:
    """Bytes; None where that cannot be known."""
    if connection.info.host not in _HERE and not connection.info.host.startswith("/"):
        return None
    try:
        cursor = await connection.execute("SHOW data_directory")
        row = await cursor.fetchone()
        return shutil.disk_usage(row[0]).free if row else None
    except (InsufficientPrivilege, OSError):
        return None


async def begin(pool: Pool, wanted: Sequence[str]) -> list[tuple[Version, bool]]:
    """The versions that are filled from now on, and whether each was begun right now. Raises DatabaseUnreachable."""
    async with pool.connection() as connection, connection.transaction():
        return [await versions.begin(connection, name) for name in sorted(wanted)]


async def abandon(pool: Pool, name: str) -> Version | None:
    """Forget what was being filled; returns what that was. Whoever is at work on it stops."""
    async with pool.connection() as connection, connection.transaction():
        version = (await versions.of(connection, name, "FOR UPDATE")).building
        if version is not None:
            await checkpoints.forget(connection, version.consumer)
            await parked.forget(connection, version.consumer)
            await versions.abandon(connection, version)
    return version


async def drop_leftover(pool: Pool, name: str) -> list[Version]:
    """Drop what was replaced or abandoned; returns what that was. May be called again after a crash anywhere."""
    async with pool.connection() as connection:
        leftover = (await versions.of(connection, name)).leftover
    for version in leftover:
        while not await _drop(pool, version):
            await asyncio.sleep(_LOOK_EVERY_S)
        await states.forget_by_batches(pool, version.consumer)
        async with pool.connection() as connection:
            await versions.dropped(connection, version)
    return list(leftover)


async def _drop(pool: Pool, version: Version) -> bool:
    """Whether its tables are gone. Not while somebody still reads them."""
    async with pool.connection(within_s=_LONG_S) as connection:
        try:
            async with connection.transaction():
                await connection.execute(f"SET LOCAL lock_timeout = '{_LOCK}'")
                await connection.execute("SET LOCAL statement_timeout = 0")
                await versions.drop(connection, version)
        except LockNotAvailable:
            return False
    return True


async def swap(pool: Pool, filled: Sequence[Version]) -> bool:
    """One transaction in which these take the places of the live ones, which wait until it ends. False: not now.

    Both sets of checkpoints are locked, and the new one is at or past the old one on every partition. Whoever was about
    to commit a batch of either is fenced by a new generation, and finds its version changed when it binds again.
    Raises Superseded, NotReplaced, DatabaseUnreachable; nothing has happened then.
    """
    async with pool.connection() as connection:
        try:
            async with connection.transaction():
                await connection.execute(f"SET LOCAL lock_timeout = '{_LOCK}'")
                for new in filled:
                    await _prepare(connection, new)
                await connection.execute(f"SET LOCAL lock_timeout = '{_VIEWS_LOCK}'")
                for new in filled:
                    await _take_place(connection, new)
        except (_Behind, LockNotAvailable, DeadlockDetected) as not_now:
            log.info("not replaced yet", reason=str(not_now) or type(not_now).__name__)
            return False
    return True


async def _prepare(connection: Connection, new: Version) -> None:
    """The live one stands still from now on; wait until the new one has reached it, and have that stand still, too."""
    standing = await versions.of(connection, new.name, "FOR UPDATE")
    if standing.building != new:
        raise Superseded(new)
    live = await checkpoints.locked(connection, new.name)
    deadline = time.monotonic() + _CATCH_UP_S
    topic = fold_of(new.name).topic.name
    while not _reached(await checkpoints.positions(connection, new.consumer, topic), live):
        if time.monotonic() > deadline:
            raise _Behind(f"{new.schema} is still behind")
        await asyncio.sleep(_POLL_S)
    await checkpoints.locked(connection, new.consumer)
    if worse := await parked.only_of(connection, new.consumer, new.name):
        told = ", ".join(row.parking.subject for row in worse[:3])
        raise NotReplaced(
            f"{len(worse)} subjects are parked in {new.schema} that {standing.active.schema} has read ({told} …):"
            f" {worse[0].parking.reason}. Rebuild with the version of the software that has read them, or --abandon."
        )


def _reached(positions: Mapping[int, int], live: Mapping[tuple[str, int], checkpoints.Bound]) -> bool:
    return all(positions.get(partition, 0) >= at.next_offset for (_, partition), at in live.items())


async def _take_place(connection: Connection, new: Version) -> None:
    active = (await versions.of(connection, new.name)).active
    if new.name == names.USAGE:
        await _publish_late(connection, new)
    live = await checkpoints.locked(connection, new.name)
    generation = max((bound.generation for bound in live.values()), default=0)
    await checkpoints.succeed(connection, new.name, new.consumer, generation)
    await parked.succeed(connection, new.name, new.consumer)
    await versions.take_place(connection, active, new)


async def _publish_late(connection: Connection, new: Version) -> None:
    """What the live ledger has parked and the new one has read is published as if it had been read again."""
    first: dict[int, int] = {}
    for row in await parked.only_of(connection, new.name, new.consumer):
        first[row.parking.partition] = min(row.parking.offset, first.get(row.parking.partition, row.parking.offset))
    await checkpoints.go_back(connection, names.USAGE_PUBLISH, SESSIONS_FOLD.topic.name, first)


class _Filling(FoldingHandler[Any]):
    async def handle(self, batches: Batches) -> None:
        try:
            await super().handle(batches)
        except Recoverable as failed:
            unreachable = failed.__cause__
            if unreachable is not None and isinstance(unreachable.__cause__, DiskFull):
                raise NoRoom("The database's disk is full.") from failed
            raise


class _At(NamedTuple):
    """How far what is filled is, in events. `behind`: of the log's end, where the live ones are at the most."""

    done: int
    total: int
    behind: int


class Rebuild:
    """Versions of projections that share a fold, filled together until they have taken their places together.

    Several processes may run the same: they share the partitions.
    """

    def __init__(self, settings: LogSettings, pool: Pool, filled: Sequence[Version], tell: Report) -> None:
        self._settings = settings
        self._pool = pool
        self._filled = filled
        self._tell = tell
        (self._fold,) = {fold_of(version.name).topic.name: fold_of(version.name) for version in filled}.values()
        self._gaps = 0
        self._at = _At(0, 0, 0)
        self._analysed = False
        self._try_at, self._pause_s = 0.0, _LOOK_EVERY_S
        self._group = "replay-" + "-".join(version.schema for version in filled)

    async def run(self) -> None:
        """Raises Superseded when another process has abandoned it, NotReplaced, NoRoom, LogGap, KafkaError,
        TimeoutError, Stuck, DatabaseUnreachable."""
        handler = _Filling(self._pool, self._fold, [filling(each) for each in self._filled], log=self._settings)
        consumer = LogConsumer(self._settings, self._fold.topic, self._group, handler, hinted=False)
        try:
            await until_one_ends(consumer.run(), self._until_in_place())
        except Superseded:
            if not await self._in_place():
                raise

    async def _in_place(self) -> bool:
        async with self._pool.connection() as connection:
            return all([(await versions.of(connection, each.name)).active == each for each in self._filled])

    async def _until_in_place(self) -> None:
        """An outage is waited for, but not for ever: the next call goes on."""
        well_at = time.monotonic()
        async with LogReader(self._settings, self._fold.topic) as reader:
            while True:
                try:
                    if await self._step(reader):
                        return
                    well_at = time.monotonic()
                except (DatabaseUnreachable, KafkaError, TimeoutError) as failed:
                    if time.monotonic() - well_at > _OUTAGE_S:
                        raise
                    log.warning("not replaced yet", reason=repr(failed))
                await asyncio.sleep(_LOOK_EVERY_S)

    async def _step(self, reader: LogReader) -> bool:
        """Tell how far it is; when it is near, try to take the place. Whether it has."""
        before, self._at = self._at, await self._look(reader)
        self._tell(self._at.done, self._at.total)
        near = self._at.behind <= (self._at.done - before.done) * _NEAR_S / _LOOK_EVERY_S
        if not near or time.monotonic() < self._try_at:
            return False
        if not self._analysed:
            await self._analyse()
            self._analysed = True
            return False
        if await swap(self._pool, self._filled):
            return True
        self._pause_s = min(2 * self._pause_s, _MOST_PAUSE_S)
        self._try_at = time.monotonic() + self._pause_s
        return False

    async def _look(self, reader: LogReader) -> _At:
        """Raises Superseded; LogGap where the log ends before what was read of it: the live one is never reached."""
        topic = self._fold.topic.name
        async with self._pool.connection() as connection:
            for each in self._filled:
                if (await versions.of(connection, each.name)).building != each:
                    raise Superseded(each)
            live = [await checkpoints.positions(connection, each.name, topic) for each in self._filled]
            new = [await checkpoints.positions(connection, each.consumer, topic) for each in self._filled]
        ends = await reader.ends()  # after the positions: they move on
        lost = {p: (end, read) for at in live for p, end in ends.items() if (read := at.get(p, 0)) > end}
        self._gaps = self._gaps + 1 if lost else 0
        if self._gaps == _GAP_LOOKS:  # not at once: a leader that has just come up may not know its end yet
            partition, (end, read) = min(lost.items())
            raise LogGap(
                f"partition {partition} of {topic} ends at offset {end} and was read up to {read}."
                " Restore the log before anything is derived from it again."
            )
        behind = sum(max(0, end - at.get(p, 0)) for at in new for p, end in ends.items())
        return _At(sum(sum(at.values()) for at in new), sum(ends.values()) * len(new), behind)

    async def _analyse(self) -> None:
        async with self._pool.connection(within_s=_LONG_S) as connection, connection.transaction():
            await connection.execute("SET LOCAL statement_timeout = 0")
            for version in self._filled:
                await versions.analyse(connection, version)
