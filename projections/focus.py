"""The ledger as a file of FOCUS rows: CSV or Parquet, whole or not there."""

from __future__ import annotations

import csv
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from events.files import whole
from schemas.focus import COLUMNS, VERSION, Charges, Kind, Value, shown
from schemas.usage import RecordedEntry

_GROUP = 20_000
_DIGITS = 38

Rows = Sequence[Mapping[str, Value]]
Write = Callable[[Rows], None]


@dataclass
class Written:
    """What a file holds, summed up."""

    entries: int = 0
    billable_ms: int = 0
    credit_us: int = 0

    def add(self, entries: Sequence[RecordedEntry]) -> None:
        self.entries += len(entries)
        self.billable_ms += sum(entry.facts.billable_ms for entry in entries)
        self.credit_us += sum(entry.facts.credit_us for entry in entries)


async def write(
    path: Path, batches: AsyncIterator[list[RecordedEntry]], charges: Charges, progress: Callable[[int], None]
) -> Written:
    """As Parquet where `path` ends so, else as CSV; `progress` is told how many entries are. Raises OSError, and
    whatever the entries raise."""
    written = Written()
    opened = _parquet if path.suffix == ".parquet" else _csv
    with whole(path) as unfinished, opened(unfinished) as put:
        async for entries in batches:
            put([charges.row(entry) for entry in entries])
            written.add(entries)
            progress(written.entries)
    return written


@contextmanager
def _csv(path: Path) -> Iterator[Write]:
    with path.open("w", newline="", encoding="utf-8") as file:
        table = csv.writer(file)
        table.writerow(COLUMNS)
        yield lambda rows: table.writerows([shown(row[name]) for name in COLUMNS] for row in rows)


@contextmanager
def _parquet(path: Path) -> Iterator[Write]:
    """A group of rows is held at a time: small ones would make a large file that is slow to read."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    def column(kind: Kind) -> pa.DataType:
        if isinstance(kind, int):
            return pa.decimal128(_DIGITS, kind)
        return {"text": pa.string(), "integer": pa.int64(), "time": pa.timestamp("ms", tz="UTC")}[kind]

    schema = pa.schema([(name, column(kind)) for name, kind in COLUMNS.items()], {"FocusVersion": VERSION})
    held: list[Mapping[str, Value]] = []
    with pq.ParquetWriter(path, schema, compression="zstd") as writer:

        def put(rows: Rows, most: int = _GROUP) -> None:
            held.extend(rows)
            if len(held) >= most:
                writer.write_batch(pa.RecordBatch.from_pylist(held, schema=schema))
                held.clear()

        yield put
        put([], most=1)
