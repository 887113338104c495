"""Commands to one worker, read from its partition of `assignments.v1`. Whatever stands there, the reading goes on."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import structlog
from aiokafka import AIOKafkaConsumer, TopicPartition
from msgspec import Struct

from events.codec import Malformed, Record, Unknown, decode
from events.consumer import Stuck
from events.dead_letters import tell

log = structlog.get_logger()

_LOOK_S = 5.0
_LOOKS = 6

Obey = Callable[[Struct, str | None], None]
"""Given a command and its `ce_traceparent`, which may be anything."""


async def take_commands(consumer: AIOKafkaConsumer, worker_id: str, obey: Obey) -> None:
    """Those of this worker, for ever; others share its partition."""
    while True:
        for records in (await consumer.getmany(timeout_ms=500)).values():
            mine = [record for record in records if record.key == worker_id.encode()]
            tell("worker", [(record, wrong) for record in mine if (wrong := _follow(record, obey)) is not None])


async def watch_answers(consumer: AIOKafkaConsumer, place: TopicPartition, reachable: Callable[[], bool]) -> None:
    """For ever. Raises Stuck when Kafka, which is there for others, has not answered for this partition for half a
    minute: clients that stop fetching after an outage are known, and a worker that hears no `end` plays on and on.
    """
    looks, last = 0, consumer.last_poll_timestamp(place)
    while True:
        await asyncio.sleep(_LOOK_S)
        heard = consumer.last_poll_timestamp(place)  # of each answer, an empty one too: two a second
        looks, last = looks + 1 if heard == last and reachable() else 0, heard
        if looks >= _LOOKS:
            raise Stuck(f"no answer from Kafka for {place.topic} {place.partition} in {_LOOKS * _LOOK_S:.0f} s")


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
