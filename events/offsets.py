"""Where a topic ends right now."""

from __future__ import annotations

import asyncio
from collections.abc import Collection

from aiokafka import AIOKafkaConsumer, TopicPartition

from events.settings import LogSettings
from events.stopping import stop
from events.topics import Topic

_TIMEOUT_S = 5.0


async def end_offsets(settings: LogSettings, topic: Topic, partitions: Collection[int] | None = None) -> dict[int, int]:
    """Partition (of all, or of these) → the offset that its next record will have. Raises KafkaError, TimeoutError."""
    consumer = AIOKafkaConsumer(bootstrap_servers=settings.kafka_bootstrap)
    try:
        async with asyncio.timeout(_TIMEOUT_S):
            await consumer.start()
            places = [
                TopicPartition(settings.topic_prefix + topic.name, p) for p in partitions or range(topic.partitions)
            ]
            ends: dict[TopicPartition, int] = await consumer.end_offsets(places)
            return {place.partition: end for place, end in ends.items()}
    finally:
        await stop(consumer)
