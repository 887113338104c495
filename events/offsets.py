"""Where a topic ends right now."""

from __future__ import annotations

import asyncio
import contextlib

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.errors import KafkaError

from events.settings import LogSettings
from events.topics import Topic

_TIMEOUT_S = 5.0


async def end_offsets(settings: LogSettings, topic: Topic) -> dict[int, int]:
    """Partition → the offset that its next record will have. Raises KafkaError or TimeoutError."""
    consumer = AIOKafkaConsumer(bootstrap_servers=settings.kafka_bootstrap)
    try:
        async with asyncio.timeout(_TIMEOUT_S):
            await consumer.start()
            places = [TopicPartition(settings.topic_prefix + topic.name, p) for p in range(topic.partitions)]
            ends: dict[TopicPartition, int] = await consumer.end_offsets(places)
            return {place.partition: end for place, end in ends.items()}
    finally:
        with contextlib.suppress(TimeoutError, KafkaError):
            await asyncio.wait_for(consumer.stop(), _TIMEOUT_S)
