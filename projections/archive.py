"""The archive of the log with the ledger beside it: export, and the audit of it, which needs no server."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import ClassVar

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as ds
import pyarrow.parquet as pq

from events.archive import (
    TOPICS,
    ArchivedTopic,
    Damaged,
    Entries,
    Left,
    Manifest,
    export_partition,
    locked,
    manifest_of,
    read_manifest,
    sha256,
    verify,
    write_manifest,
)
from events.consumer import LogGap
from events.files import whole
from events.reader import LogReader
from events.settings import LogSettings
from events.topics import SESSIONS, Topic
from events.whole import CannotRead
from projections.audit import Progress, Scope, Verdict, compare
from projections.entries import Part, Stored
from projections.parked import Parking
from projections.period import Period, within
from projections.usage import STORED, TYPES
from schemas.usage import RecordedEntry
from store.database import Row

_ELSEWHERE = -1
_ROWS = 20_000
_SAVE_EVERY_S = 10.0
_OFFSET = STORED.index("offset")
_APPEND = 1
"""Column of the append time in a file of records."""
_SCHEMA = pa.schema([(name, pa.int64() if name in TYPES else pa.string()) for name in STORED])

Starts = Mapping[str, Mapping[int, int]]
"""Topic → partition → the offset to begin at where the archive has nothing yet; 0 where nothing is said."""


class Export:
    """Brings the archive in `folder` up to where the log ends now.

    What is there already stays; if the process dies anywhere in here, the next one goes on.
    """

    def __init__(self, folder: Path, starts: Starts, progress: Progress) -> None:
        self._folder = folder
        self._starts = starts
        self._progress = progress
        self._manifest = Manifest()
        self._done = self._total = 0
        self._saved_at = 0.0

    async def run(self, settings: LogSettings, ledger: Stored | None) -> Manifest:
        """`ledger`: None leaves it out.

        Raises KafkaError, TimeoutError, Stuck, LogGap, DatabaseUnreachable, CannotRead, Damaged, Busy, OSError.
        """
        with locked(self._folder):
            self._manifest = manifest_of(self._folder)
            self._manifest.serial += 1
            async with AsyncExitStack() as stack:
                logs = [(topic, await stack.enter_async_context(LogReader(settings, topic))) for topic in TOPICS]
                work = [(topic, log, self._begins(topic), await log.ends()) for topic, log in logs]
                self._total = sum(end - begins[p] for _, _, begins, ends in work for p, end in ends.items())
                for topic, log, begins, ends in work:
                    await self._check(topic, log, begins, ends)
                for topic, log, begins, ends in work:
                    await self._topic(topic, log, begins, ends)
            write_manifest(self._folder, self._manifest)  # the longer log stays, also when the ledger cannot be had
            self._manifest.ledger = await self._ledger(ledger, work[0][3]) if ledger is not None else []
            write_manifest(self._folder, self._manifest)
            self._forget_others()
        return self._manifest

    def _begins(self, topic: Topic) -> dict[int, int]:
        starts = self._starts.get(topic.name, {})
        found = {partition: self._manifest.of(topic, partition) for partition in range(topic.partitions)}
        return {partition: files[-1].end if files else starts.get(partition, 0) for partition, files in found.items()}

    async def _check(self, topic: Topic, log: LogReader, begins: dict[int, int], ends: dict[int, int]) -> None:
        """That it is the log that the archive is of, and all that is missing there. Before anything is written."""
        first, archived = await log.begins(), ArchivedTopic(self._folder, self._manifest, topic)
        for partition, end in ends.items():
            begin, name = begins[partition], f"partition {partition} of {topic.name}"
            if begin < first[partition]:
                raise LogGap(f"{name} has lost its offsets before {first[partition]}; --from-offsets begins behind.")
            if begin > end:
                raise LogGap(f"{name} ends at offset {end}, and the archive at {begin}: it has lost its tail.")
            if (last := archived.last(partition)) is not None and begin > first[partition]:
                there = await log.record(partition, last.offset)
                if (there.timestamp, there.key, there.value) != (last.timestamp, last.key, last.value):
                    place = f"offset {last.offset} is another record"
                    raise CannotRead(f"{name} is not what {self._folder} is of: {place}.")

    async def _topic(self, topic: Topic, log: LogReader, begins: dict[int, int], ends: dict[int, int]) -> None:
        for partition, end in ends.items():
            begin = begins[partition]
            async for file in export_partition(log, self._folder, topic, partition, begin, end, self._tell):
                self._manifest.files.append(file)
                if time.monotonic() - self._saved_at > _SAVE_EVERY_S:
                    self._saved_at = time.monotonic()
                    write_manifest(self._folder, self._manifest)

    def _tell(self, records: int) -> None:
        self._done += records
        self._progress(self._done, self._total)

    async def _ledger(self, ledger: Stored, ends: Mapping[int, int]) -> list[Entries]:
        """What was made of the log up to `ends`, and whatever no record explains."""
        await ledger.caught_up(ends)
        found = []
        for partition, end in ends.items():
            async with ledger.part(partition) as part:
                parked = [Left(p.subject, p.offset, p.reason) for p in part.parked.values() if p.offset < end]
                explained = range(end, part.done)  # by the log that came after
                rows = ([row for row in batch if row[_OFFSET] not in explained] async for batch in part.rows)
                found.append(await self._entries(partition, end, parked, rows))
        return [*found, await self._entries(_ELSEWHERE, 0, [], ledger.elsewhere())]

    async def _entries(
        self, partition: int, done: int, parked: list[Left], batches: AsyncIterator[list[Row]]
    ) -> Entries:
        file = Entries(self._manifest.serial, partition, done, parked, "")
        with whole(self._folder / file.name) as path:
            with pq.ParquetWriter(path, _SCHEMA, compression="zstd") as writer:
                async for rows in batches:
                    writer.write_batch(_batch(rows))
            digest = sha256(path)
        return Entries(file.serial, partition, done, parked, digest)

    def _forget_others(self) -> None:
        """Ledgers of exports before this one, and what some that did not come to their end have left."""
        kept = {self._folder / each.name for each in self._manifest.ledger}
        for path in (self._folder / "usage_events").glob("*.parquet"):
            if path not in kept:
                path.unlink(missing_ok=True)
        for path in self._folder.rglob(".*.unfinished"):
            path.unlink(missing_ok=True)


def _batch(rows: list[Row]) -> pa.RecordBatch:
    columns = zip(*rows, strict=True) if rows else [()] * len(STORED)
    return pa.RecordBatch.from_arrays(
        [pa.array(column, field.type) for column, field in zip(columns, _SCHEMA, strict=True)], schema=_SCHEMA
    )


# The audit


async def audit(folder: Path, ledger: Path | None, scope: Scope, progress: Progress) -> Verdict:
    """`ledger`: instead of the archive's own, one Parquet file with the same columns. Raises CannotRead."""
    try:
        manifest = read_manifest(folder)
        verify(folder, manifest, progress)
        log = ArchivedTopic(folder, manifest, SESSIONS)
        if ledger is None and not manifest.ledger:
            raise CannotRead(f"{folder} holds no ledger; say which with --ledger.")
        entries = ArchivedLedger(folder, manifest, await log.ends(), ledger)
        return await compare(log, entries, scope, progress)
    except Damaged as damaged:
        raise CannotRead(f"the archive cannot be trusted: {damaged}") from damaged
    except OSError as failed:
        raise CannotRead(f"the archive cannot be read: {failed.strerror}: {failed.filename}") from failed


class ArchivedLedger:
    """What `Stored` is for PostgreSQL. Holds the entries of one partition at a time."""

    behind: ClassVar[str] = "export again, with the ledger"

    def __init__(self, folder: Path, manifest: Manifest, ends: Mapping[int, int], other: Path | None) -> None:
        self._made = {each.partition: each for each in manifest.ledger} if other is None else {}
        self._ends = ends
        self._paths = [other] if other is not None else [folder / each.name for each in manifest.ledger]

    async def caught_up(self, ends: Mapping[int, int]) -> None:
        """It was exported when it had."""

    @asynccontextmanager
    async def part(self, partition: int) -> AsyncIterator[Part]:
        made = self._made.get(partition)
        done = made.done if made is not None else self._ends[partition]
        parked = (
            {p.session_id: Parking(p.session_id, partition, p.offset, p.reason) for p in made.parked} if made else {}
        )
        yield Part(done, done, parked, self._rows(pc.field("partition") == partition))

    async def elsewhere(self) -> AsyncIterator[list[Row]]:
        last = SESSIONS.partitions - 1
        async for rows in self._rows((pc.field("partition") < 0) | (pc.field("partition") > last)):
            yield rows

    async def _rows(self, which: pc.Expression) -> AsyncIterator[list[Row]]:
        """Raises Damaged."""
        try:
            found = ds.dataset(self._paths, format="parquet").to_table(columns=list(STORED), filter=which).cast(_SCHEMA)
        except (pa.ArrowException, KeyError) as broken:
            raise Damaged(f"the ledger is no Parquet file of entries: {type(broken).__name__}.") from broken
        for batch in found.sort_by([("partition", "ascending"), ("offset", "ascending")]).to_batches(_ROWS):
            yield list(zip(*(column.to_pylist() for column in batch.columns), strict=True))


# A period


class ArchivedEntries:
    """What `StoredEntries` is for PostgreSQL. Holds some thousand entries at a time."""

    def __init__(self, folder: Path, period: Period, progress: Progress) -> None:
        """Looks at every byte first. Raises CannotRead."""
        try:
            manifest = read_manifest(folder)
            verify(folder, manifest, progress)
        except (Damaged, OSError) as failed:
            raise CannotRead(f"the archive cannot be trusted: {failed}") from failed
        if not manifest.ledger:
            raise CannotRead(f"{folder} holds no ledger.")
        if _last_ms(folder, manifest) < period.end_ms:
            raise CannotRead(f"{folder} may end before --to: `greenroom export` brings it up to date.")
        self._folder = folder
        self._period = period
        self._ledger = sorted(manifest.ledger, key=lambda each: each.partition % (SESSIONS.partitions + 1))
        self.left = sorted({left.session_id for each in manifest.ledger for left in each.parked})

    async def batches(self) -> AsyncIterator[list[RecordedEntry]]:
        for each in self._ledger:
            with pq.ParquetFile(self._folder / each.name) as file:
                for batch in file.iter_batches(2000, columns=list(STORED)):
                    rows = zip(*(column.to_pylist() for column in batch.columns), strict=True)
                    yield within(rows, self._period)


def _last_ms(folder: Path, manifest: Manifest) -> int:
    """The latest append time that the archived log has: it was exported after that."""
    found = [0]
    for file in manifest.files:
        if file.topic == SESSIONS.name:
            with pq.ParquetFile(folder / file.name) as parquet:
                groups = (parquet.metadata.row_group(n) for n in range(parquet.metadata.num_row_groups))
                found += [group.column(_APPEND).statistics.max for group in groups]
    return max(found)
