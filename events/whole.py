"""A topic read from its beginning to where it ended when it was opened, partition by partition. It reads only."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.errors import KafkaError

from events.codec import Record
from events.settings import LogSettings
from events.stopping import stop
from events.topics import Topic

_WITHIN_S = 20.0
_STANDS_S = 60.0
_BATCH = 5000


class CannotRead(Exception):
    """The log cannot be read in full. The message says what to do."""


class WholeTopic:
    """`ends`: partition → the offset after its last record, when it was opened."""

    def __init__(self, consumer: AIOKafkaConsumer, name: str, ends: dict[int, int]) -> None:
        self.ends = ends
        self._consumer = consumer
        self._name = name

    async def partition(self, number: int) -> AsyncIterator[Sequence[Record]]:
        """Its records in order, some at a time. One partition after the other. Raises CannotRead."""
        place, end = TopicPartition(self._name, number), self.ends[number]
        self._consumer.assign([place])  # alone: otherwise each new place waits for the long poll of the others
        self._consumer.seek(place, 0)
        at, moved = 0, time.monotonic()
        while at < end:
            try:
                async with asyncio.timeout(_WITHIN_S):
                    records = await self._consumer.getmany(place, timeout_ms=1000, max_records=_BATCH)
                    before, at = at, await self._consumer.position(place)
            except (TimeoutError, KafkaError) as failed:
                raise CannotRead(f"partition {number} of {self._name} cannot be read: {failed!r}") from failed
            found = [record for record in records.get(place, ()) if record.offset < end]
            if found:
                yield found
            if at > before:
                moved = time.monotonic()
            elif time.monotonic() - moved > _STANDS_S:
                raise CannotRead(f"partition {number} of {self._name} cannot be read beyond offset {at}.")


@asynccontextmanager
async def opened(settings: LogSettings, topic: Topic) -> AsyncIterator[WholeTopic]:
    """Raises CannotRead: Kafka is away, or the log does not begin at offset 0."""
    consumer = AIOKafkaConsumer(
        bootstrap_servers=settings.kafka_bootstrap,
        auto_offset_reset="none",
        fetch_max_wait_ms=20,  # a place is read after the long poll of the one before has ended
    )
    name = settings.topic_prefix + topic.name
    places = [TopicPartition(name, number) for number in range(topic.partitions)]
    try:
        try:
            async with asyncio.timeout(_WITHIN_S):
                await consumer.start()
                starts, ends = await consumer.beginning_offsets(places), await consumer.end_offsets(places)
        except (TimeoutError, KafkaError) as failed:
            raise CannotRead("Kafka cannot be reached; start it and try again.") from failed
        if cut := [place.partition for place in places if starts[place] > 0]:
            raise CannotRead(f"the log is incomplete: partitions {cut} of {name} do not begin at offset 0.")
        yield WholeTopic(consumer, name, {place.partition: end for place, end in ends.items()})
    finally:
        await stop(consumer)
