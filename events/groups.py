"""Consumer groups that are over."""

from __future__ import annotations

import asyncio

import structlog
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.errors import KafkaError

from events.settings import LogSettings

log = structlog.get_logger()

_TIMEOUT_S = 10.0


async def forget(settings: LogSettings, group: str) -> None:
    """Kafka forgets the group, so that no lag tool shows one that nobody will ever catch up. If it cannot, or members
    are still there, it does by itself some day."""
    admin = AIOKafkaAdminClient(bootstrap_servers=settings.kafka_bootstrap)
    try:
        async with asyncio.timeout(_TIMEOUT_S):
            await admin.start()
            await admin.delete_consumer_groups([settings.topic_prefix + group])
    except (KafkaError, TimeoutError) as failed:
        log.info("group not forgotten", group=group, reason=repr(failed))
    finally:
        await admin.close()
