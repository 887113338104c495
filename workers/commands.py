"""Commands to one worker, read from its partition of `assignments.v1`. Whatever stands there, the reading goes on."""

from __future__ import annotations

from collections.abc import Callable

import structlog
from aiokafka import AIOKafkaConsumer
from msgspec import Struct

from events.codec import Malformed, Record, Unknown, decode
from events.dead_letters import tell

log = structlog.get_logger()

Obey = Callable[[Struct, str | None], None]
"""Given a command and its `ce_traceparent`, which may be anything."""


async def take_commands(consumer: AIOKafkaConsumer, worker_id: str, obey: Obey) -> None:
    """Those of this worker, for ever; others share its partition."""
    while True:
        for records in (await consumer.getmany(timeout_ms=500)).values():
            mine = [record for record in records if record.key == worker_id.encode()]
            tell("worker", [(record, wrong) for record in mine if (wrong := _follow(record, obey)) is not None])


def _follow(record: Record, obey: Obey) -> str | None:
    """Do what it says; returns what is wrong with one that can never be read."""
    try:
        told = decode(record)
    except Malformed as broken:
        return str(broken)
    except Unknown as unknown:
        log.warning("command of a newer version", offset=record.offset, reason=str(unknown))
        return None
    obey(told.data, told.traceparent)
    return None
