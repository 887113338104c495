"""Reading a topic from where one says: no group, no position of its own, nothing skipped in silence."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Sequence
from types import TracebackType
from typing import Self

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.errors import KafkaError

from events.codec import Record
from events.consumer import LogGap, Stuck
from events.settings import LogSettings
from events.stopping import stop
from events.topics import Topic

_TIMEOUT_S = 20.0
_STANDS_S = 60.0
_RECORDS = 5000


class LogReader:
    """Everything raises KafkaError or TimeoutError when Kafka cannot be had."""

    def __init__(self, settings: LogSettings, topic: Topic) -> None:
        self._name = settings.topic_prefix + topic.name
        self._compacted = topic.compacted
        self._places = [self._place(partition) for partition in range(topic.partitions)]
        self._consumer = AIOKafkaConsumer(
            bootstrap_servers=settings.kafka_bootstrap,
            auto_offset_reset="none",
            fetch_max_wait_ms=20,  # a place is read after the long poll of the one before has ended
        )

    async def __aenter__(self) -> Self:
        try:
            await asyncio.wait_for(self._consumer.start(), _TIMEOUT_S)
        except (TimeoutError, KafkaError):
            await stop(self._consumer)
            raise
        self._consumer.assign(self._places)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await stop(self._consumer)

    def _place(self, partition: int) -> TopicPartition:
        return TopicPartition(self._name, partition)

    async def begins(self) -> dict[int, int]:
        """Partition → offset of its first record."""
        async with asyncio.timeout(_TIMEOUT_S):  # `wait_for` loses a cancellation that comes with the answer
            found = await self._consumer.beginning_offsets(self._places)
        return {place.partition: found[place] for place in self._places}

    async def ends(self) -> dict[int, int]:
        """Partition → the offset that its next record will have."""
        async with asyncio.timeout(_TIMEOUT_S):
            found = await self._consumer.end_offsets(self._places)
        return {place.partition: found[place] for place in self._places}

    async def record(self, partition: int, offset: int) -> Record:
        """Raises LogGap when the log does not have it, Stuck."""
        if (await self.begins())[partition] <= offset < (await self.ends())[partition]:
            async for records in self.read(partition, offset, offset + 1):
                if records:
                    return records[0]
        raise LogGap(f"offset {offset} of partition {partition} of {self._name} is not in the log, or no longer.")

    async def read(self, partition: int, begin: int, end: int) -> AsyncIterator[Sequence[Record]]:
        """The records from `begin` to `end` (exclusive), some thousand at a time; empty ones now and then.

        Raises Stuck when they do not come, LogGap when one is not there (of a compacted topic none need be), KafkaError
        when the log begins behind `begin`.
        """
        place, at, moved = self._place(partition), begin, time.monotonic()
        self._consumer.assign([place])  # alone: otherwise each new place waits for the long poll of the others
        self._consumer.seek(place, begin)
        while at < end:
            async with asyncio.timeout(_TIMEOUT_S):
                records = (await self._consumer.getmany(place, timeout_ms=1000, max_records=_RECORDS)).get(place, [])
                before, at = at, await self._consumer.position(place)
            if not self._compacted and (at != before + len(records) or (records and records[0].offset != before)):
                raise LogGap(f"partition {partition} of {self._name} lacks some of its offsets {before} to {at - 1}.")
            yield records if at <= end else [record for record in records if record.offset < end]
            if at > before:
                moved = time.monotonic()
            elif time.monotonic() - moved > _STANDS_S:
                raise Stuck(f"partition {partition} of {self._name} cannot be read beyond offset {at}.")
