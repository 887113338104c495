"""Every record of the log reaches its reader, one for each offset, whatever Kafka was given.

aiokafka decodes header names as UTF-8 while it reads a batch, and Kafka does not look at them: one record with another
name would be fetched, raised at and fetched again, for ever and by everybody. And it leaves out the markers of
transactions, which take an offset each: to whoever counts offsets they look like lost records, at the log's end like
records that never come. Here names are escaped, and a marker is a record like any other (one that cannot be read).
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from aiokafka.consumer import fetcher
from aiokafka.record.default_records import _DefaultRecordBatchPy
from aiokafka.record.memory_records import _MemoryRecordsPy


class _Lenient(bytearray):
    """Bytes that decode to something, and so do their slices."""

    def __getitem__(self, at: Any) -> Any:
        found = super().__getitem__(at)
        return _Lenient(found) if isinstance(at, slice) else found

    def decode(self, encoding: str = "utf-8", errors: str = "strict") -> str:
        return super().decode(encoding, "backslashreplace")


class _Batch:
    """A record batch of aiokafka, read by its fast parser, and by its slow one where that fails."""

    is_control_batch = False

    def __init__(self, batch: Any, data: memoryview) -> None:
        self._batch = batch
        self._data = data

    def __getattr__(self, name: str) -> Any:
        return getattr(self._batch, name)

    def __iter__(self) -> Iterator[Any]:
        next_offset = self._batch.base_offset
        try:
            for record in self._batch:
                next_offset = record.offset + 1
                yield record
        except UnicodeDecodeError:
            slow = _DefaultRecordBatchPy(self._data)
            slow._maybe_uncompress()
            slow._buffer = _Lenient(slow._buffer)
            yield from (record for record in slow if record.offset >= next_offset)


class _Records(_MemoryRecordsPy):  # type: ignore[misc]
    def next_batch(self) -> Any:
        data = self._next_slice
        batch = super().next_batch()
        return batch if batch is None or batch.magic < 2 else _Batch(batch, data)


def install() -> None:
    """For every consumer of this process."""
    fetcher.MemoryRecords = _Records
