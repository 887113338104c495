"""Where a topic begins and ends right now, and where it was at some time."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Collection
from contextlib import asynccontextmanager

from aiokafka import AIOKafkaConsumer, TopicPartition

from events.settings import LogSettings
from events.stopping import stop
from events.topics import Topic

_TIMEOUT_S = 5.0

Offsets = dict[int, int]
"""Partition → offset."""


async def end_offsets(settings: LogSettings, topic: Topic, partitions: Collection[int] | None = None) -> Offsets:
    """Of all partitions, or of these: the offset that the next record will have. Raises KafkaError, TimeoutError."""
    async with _asking(settings) as consumer:
        ends = await consumer.end_offsets(_places(settings, topic, partitions))
        return _by_partition(ends)


async def extents(settings: LogSettings, topic: Topic) -> tuple[Offsets, Offsets]:
    """(the first offset of each partition, the one that its next record will have). Raises KafkaError, TimeoutError."""
    places = _places(settings, topic)
    async with _asking(settings) as consumer:
        return (
            _by_partition(await consumer.beginning_offsets(places)),
            _by_partition(await consumer.end_offsets(places)),
        )


async def offsets_at(settings: LogSettings, topic: Topic, time_ms: int) -> Offsets:
    """The first offset of each partition that was appended at that time or later; its end when none was.

    Raises KafkaError, TimeoutError.
    """
    places = _places(settings, topic)
    async with _asking(settings) as consumer:
        ends = await consumer.end_offsets(places)
        found = await consumer.offsets_for_times(dict.fromkeys(places, time_ms))
        return {p.partition: at.offset if (at := found[p]) is not None else ends[p] for p in places}


@asynccontextmanager
async def _asking(settings: LogSettings) -> AsyncIterator[AIOKafkaConsumer]:
    consumer = AIOKafkaConsumer(bootstrap_servers=settings.kafka_bootstrap)
    try:
        async with asyncio.timeout(_TIMEOUT_S):
            await consumer.start()
            yield consumer
    finally:
        await stop(consumer)


def _places(settings: LogSettings, topic: Topic, partitions: Collection[int] | None = None) -> list[TopicPartition]:
    return [TopicPartition(settings.topic_prefix + topic.name, p) for p in partitions or range(topic.partitions)]


def _by_partition(found: dict[TopicPartition, int]) -> Offsets:
    return {place.partition: offset for place, offset in found.items()}
