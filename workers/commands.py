"""Commands to one worker, read from its partition of `assignments.v1`. Whatever stands there, the reading goes on."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import structlog
from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.errors import KafkaError
from msgspec import Struct

from events.codec import Malformed, Record, Unknown, decode
from events.dead_letters import tell
from events.producer import assignment_partition
from events.settings import LogSettings
from events.stopping import stop
from events.topics import ASSIGNMENTS
from schemas.background import until_one_ends

log = structlog.get_logger()

_START_S = 30.0
_POSITION_S = 10.0
_REQUEST_MS = 10_000
_LOOK_S = 5.0
_LOOKS = 12
"""A minute: a consumer whose connection is lost has had time to make another by itself."""

Obey = Callable[[Struct, str | None], None]
"""Given a command and its `ce_traceparent`, which may be anything."""


class Commands:
    """Of one worker. A consumer that gets no answers any more gives way to a new one, which goes on where it was:
    clients that stop fetching after an outage are known, and a worker that hears no `end` plays on and on.
    """

    def __init__(self, settings: LogSettings, worker_id: str, reachable: Callable[[], bool]) -> None:
        """`reachable`: whether Kafka answers others of this process."""
        self._settings, self._worker_id, self._reachable = settings, worker_id, reachable
        self._place = TopicPartition(settings.topic_prefix + ASSIGNMENTS.name, assignment_partition(worker_id))
        self._consumer = self._made()

    def _made(self) -> AIOKafkaConsumer:
        return AIOKafkaConsumer(
            bootstrap_servers=self._settings.kafka_bootstrap,
            auto_offset_reset="latest",
            request_timeout_ms=_REQUEST_MS,
        )

    async def start(self) -> None:
        """From here on nothing is skipped. Raises KafkaError, TimeoutError."""
        await asyncio.wait_for(self._consumer.start(), _START_S)
        self._consumer.assign([self._place])
        await asyncio.wait_for(self._consumer.position(self._place), _POSITION_S)

    async def stop(self) -> None:
        await stop(self._consumer)

    async def take(self, obey: Obey) -> None:
        """Those of this worker, for ever; others share its partition. Raises KafkaError."""
        while True:
            await until_one_ends(
                read(self._consumer, self._worker_id, obey),
                until_unanswered(self._consumer, self._place, self._reachable),
            )
            await self._renew()

    async def _renew(self) -> None:
        """If that fails, the old one has another minute."""
        log.warning("no answers for commands any more, another consumer goes on", partition=self._place.partition)
        made = self._made()
        try:
            next_offset = await asyncio.wait_for(self._consumer.position(self._place), _POSITION_S)
            await asyncio.wait_for(made.start(), _START_S)
            made.assign([self._place])
            made.seek(self._place, next_offset)
        except (KafkaError, TimeoutError) as failed:
            log.warning("no other consumer of commands", reason=repr(failed))
            await stop(made)
            return
        except BaseException:
            await stop(made)
            raise
        old, self._consumer = self._consumer, made
        await stop(old)


async def read(consumer: AIOKafkaConsumer, worker_id: str, obey: Obey) -> None:
    """Commands of this worker, for ever."""
    while True:
        for records in (await consumer.getmany(timeout_ms=500)).values():
            mine = [record for record in records if record.key == worker_id.encode()]
            tell("worker", [(record, wrong) for record in mine if (wrong := _follow(record, obey)) is not None])


async def until_unanswered(consumer: AIOKafkaConsumer, place: TopicPartition, reachable: Callable[[], bool]) -> None:
    """Returns when Kafka, which is there for others, has not answered for this partition for a minute."""
    looks, last = 0, consumer.last_poll_timestamp(place)
    while looks < _LOOKS:
        await asyncio.sleep(_LOOK_S)
        heard = consumer.last_poll_timestamp(place)  # of each answer, an empty one too: two a second
        looks, last = looks + 1 if heard == last and reachable() else 0, heard


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
