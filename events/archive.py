"""The log as files: Parquet with offsets, append times, keys, headers and values, and a manifest that vouches for each.

A file is whole under its final name, or not there. What the manifest does not name is not part of the archive. Form
and rules: docs/decisions/0029.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import msgspec
import pyarrow as pa
import pyarrow.parquet as pq
from msgspec import Struct

from events.codec import Record
from events.files import whole
from events.reader import LogReader
from events.topics import ACCOUNTS, AVATARS, SESSIONS, USAGE, Topic

FORMAT = 1
TOPICS = (SESSIONS, AVATARS, ACCOUNTS, USAGE)
"""Those that are kept for ever."""

RECORDS_OF_A_FILE = 200_000
_GROUP_BYTES = 16 * 2**20
_GROUP_RECORDS = 20_000
_MANIFEST = "manifest.json"
_CHUNK = 2**20

_SCHEMA = pa.schema(
    [
        ("offset", pa.int64()),
        ("append_ms", pa.int64()),
        ("key", pa.binary()),
        ("value", pa.binary()),
        ("headers", pa.list_(pa.struct([("name", pa.string()), ("value", pa.binary())]))),
    ]
)


class Damaged(Exception):
    """Files are not what their manifest says, or there is none. The message names them."""


class Busy(Exception):
    """Another process writes this archive."""


class File(Struct, frozen=True):
    """Records of one partition, from offset `begin` to `end` (exclusive). Its name follows from these."""

    topic: str
    partition: int
    begin: int
    end: int
    sha256: str

    @property
    def name(self) -> str:
        return f"{self.topic}/{self.partition:02d}-{self.begin:020d}.parquet"


class Left(Struct, frozen=True):
    """A session that the ledger was not made from, from `offset` on."""

    session_id: str
    offset: int
    reason: str


class Entries(Struct, frozen=True):
    """The ledger of one partition, made from the log up to offset `done`; partition −1: rows of no partition at all."""

    serial: int
    partition: int
    done: int
    parked: list[Left]
    sha256: str

    @property
    def name(self) -> str:
        place = f"{self.partition:02d}" if self.partition >= 0 else "elsewhere"
        return f"usage_events/{self.serial:06d}-{place}.parquet"


class Manifest(Struct):
    """`serial`: how many exports went into it."""

    format: int = FORMAT
    serial: int = 0
    files: list[File] = []
    ledger: list[Entries] = []

    def of(self, topic: Topic, partition: int) -> list[File]:
        """In offset order."""
        found = [file for file in self.files if (file.topic, file.partition) == (topic.name, partition)]
        return sorted(found, key=lambda file: file.begin)


class _Sealed(Struct):
    manifest: Manifest
    sha256: str


class Archived(NamedTuple):
    """A record as Kafka would hand it out."""

    topic: str
    partition: int
    offset: int
    timestamp: int
    key: bytes | None
    value: bytes | None
    headers: list[tuple[str, bytes | None]]


_canonical = msgspec.json.Encoder(order="deterministic").encode
_sealed = msgspec.json.Decoder(_Sealed)


# Files


def sha256(path: Path) -> str:
    with path.open("rb") as file:
        digest = hashlib.sha256()
        while chunk := file.read(_CHUNK):
            digest.update(chunk)
    return digest.hexdigest()


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Raises Busy: two that write one archive would each forget what the other has written."""
    folder.mkdir(parents=True, exist_ok=True)
    held = os.open(folder, os.O_RDONLY)
    try:
        try:
            fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise Busy(f"another process writes to {folder}.") from None
        yield
    finally:
        os.close(held)


def write_manifest(folder: Path, manifest: Manifest) -> None:
    sealed = _Sealed(manifest, hashlib.sha256(_canonical(manifest)).hexdigest())
    with whole(folder / _MANIFEST) as path:
        path.write_bytes(_canonical(sealed))


def read_manifest(folder: Path) -> Manifest:
    """Raises Damaged: no manifest, one of another format, or one byte of it is another."""
    path = folder / _MANIFEST
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        raise Damaged(f"{folder} is no archive: it has no {_MANIFEST}.") from None
    try:
        sealed = _sealed.decode(data)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        raise Damaged(f"{_MANIFEST} is damaged.") from None
    again = _canonical(sealed.manifest)
    if hashlib.sha256(again).hexdigest() != sealed.sha256 or _canonical(sealed) != data:
        raise Damaged(f"{_MANIFEST} is damaged.")
    if sealed.manifest.format != FORMAT:
        raise Damaged(f"{_MANIFEST} is of format {sealed.manifest.format}; this software reads {FORMAT}.")
    return sealed.manifest


def manifest_of(folder: Path) -> Manifest:
    """Of an archive that is there, or of one that begins. Raises Damaged."""
    return read_manifest(folder) if (folder / _MANIFEST).exists() else Manifest()


def verify(folder: Path, manifest: Manifest, progress: Callable[[int, int], None]) -> None:
    """Every byte of every file. Raises Damaged, which names all that are not as they were written."""
    files: list[File | Entries] = [*manifest.files, *manifest.ledger]
    wrong = []
    for n, file in enumerate(files):
        progress(n, len(files))
        path = folder / file.name
        if not path.is_file():
            wrong.append(f"{file.name} is missing")
        elif sha256(path) != file.sha256:
            wrong.append(f"{file.name} is damaged")
    if wrong:
        raise Damaged("; ".join(wrong) + ".")


# Writing


async def export_partition(
    log: LogReader, folder: Path, topic: Topic, partition: int, begin: int, end: int, report: Callable[[int], None]
) -> AsyncIterator[File]:
    """Each file when it is there. Raises KafkaError, TimeoutError, Stuck, OSError; what was yielded is whole."""
    at = begin
    while at < end:
        until = min(end, at + RECORDS_OF_A_FILE)
        file = File(topic.name, partition, at, until, "")
        with whole(folder / file.name) as path:
            await _write(path, log.read(partition, at, until), report)
            digest = sha256(path)
        yield msgspec.structs.replace(file, sha256=digest)
        at = until


async def _write(path: Path, batches: AsyncIterator[Sequence[Record]], report: Callable[[int], None]) -> None:
    with pq.ParquetWriter(path, _SCHEMA, compression="zstd") as writer:
        held: list[Record] = []
        size = 0
        async for records in batches:
            for record in records:
                held.append(record)
                size += len(record.value or b"") + len(record.key or b"") + 200
                if size > _GROUP_BYTES or len(held) >= _GROUP_RECORDS:
                    writer.write_batch(_table(held))
                    held, size = [], 0
            report(len(records))
        if held:
            writer.write_batch(_table(held))


def _table(records: Sequence[Record]) -> pa.RecordBatch:
    columns = (
        [record.offset for record in records],
        [record.timestamp for record in records],
        [record.key for record in records],
        [record.value for record in records],
        [[{"name": name, "value": value} for name, value in record.headers] for record in records],
    )
    arrays = [pa.array(column, field.type) for column, field in zip(columns, _SCHEMA, strict=True)]
    return pa.RecordBatch.from_arrays(arrays, schema=_SCHEMA)


# Reading


class ArchivedTopic:
    """What `LogReader` is for a topic in Kafka. `verify` has been asked before."""

    def __init__(self, folder: Path, manifest: Manifest, topic: Topic) -> None:
        self._folder = folder
        self._topic = topic
        self._files = {partition: manifest.of(topic, partition) for partition in range(topic.partitions)}

    async def begins(self) -> dict[int, int]:
        return {partition: files[0].begin if files else 0 for partition, files in self._files.items()}

    async def ends(self) -> dict[int, int]:
        return {partition: files[-1].end if files else 0 for partition, files in self._files.items()}

    async def read(self, partition: int, begin: int, end: int) -> AsyncIterator[Sequence[Archived]]:
        """Raises Damaged when an offset in between is not there."""
        at = begin
        for file in self._files[partition]:
            if file.end <= at or at >= end:
                continue
            for records in self._records(file):
                found = [record for record in records if at <= record.offset < end]
                for record in found:
                    if record.offset != at:
                        raise Damaged(f"{file.name} does not have offset {at}.")
                    at += 1
                yield found
        if at < end:
            raise Damaged(f"{self._topic.name} of the archive does not have offset {at} of partition {partition}.")

    def last(self, partition: int) -> Archived | None:
        """The last record of a partition, if it has any. Of a file that nobody has verified. Raises Damaged."""
        if not (files := self._files[partition]):
            return None
        with self._opened(files[-1]) as parquet:
            group = parquet.read_row_group(parquet.num_row_groups - 1)
            (found,) = _archived(files[-1], group.slice(group.num_rows - 1))
        return found

    def _records(self, file: File) -> Iterator[list[Archived]]:
        with self._opened(file) as parquet:
            for batch in parquet.iter_batches(batch_size=5000):
                yield _archived(file, batch)

    @contextmanager
    def _opened(self, file: File) -> Iterator[pq.ParquetFile]:
        try:
            with pq.ParquetFile(self._folder / file.name) as parquet:
                yield parquet
        except FileNotFoundError:
            raise Damaged(f"{file.name} is missing.") from None
        except (pa.ArrowException, KeyError) as broken:
            raise Damaged(f"{file.name} is no file of an archive: {type(broken).__name__}.") from broken


def _archived(file: File, rows: pa.RecordBatch | pa.Table) -> list[Archived]:
    columns = (rows.column(name).to_pylist() for name in _SCHEMA.names)
    return [
        Archived(file.topic, file.partition, offset, at, key, value, [(h["name"], h["value"]) for h in headers])
        for offset, at, key, value, headers in zip(*columns, strict=True)
    ]
