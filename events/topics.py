"""The topics, as they must be, and `apply`, which makes the cluster so."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache

from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType
from aiokafka.errors import TopicAlreadyExistsError, for_code
from aiokafka.partitioner import murmur2

_ALWAYS = {
    "message.timestamp.type": "LogAppendTime",
    "compression.type": "uncompressed",  # Kafka unpacks what others compress: no reader needs a codec to go on
}
_FOR_EVER = {"retention.ms": "-1", "retention.bytes": "-1"}
_TIMEOUT_S = 30.0
_LOOK_AGAIN_S = 0.05


@dataclass(frozen=True)
class Topic:
    name: str
    partitions: int
    config: dict[str, str] = field(default_factory=dict)

    @property
    def compacted(self) -> bool:
        """Only the last record of a key is kept for sure: offsets may be missing."""
        return "compact" in self.config.get("cleanup.policy", "")


SESSIONS = Topic("sessions.v1", 24, _FOR_EVER)
"""The source of truth. 24 partitions for ever: the partition of a key must never change."""
WORKERS = Topic(
    "workers.v1", 4, {"cleanup.policy": "compact", "segment.ms": "600000", "min.cleanable.dirty.ratio": "0.1"}
)
ASSIGNMENTS = Topic("assignments.v1", 64, {"retention.ms": "3600000", "segment.ms": "600000"})
"""Kafka deletes whole segments: a busy one would be kept for its usual week."""
USAGE = Topic("usage.v1", 12, _FOR_EVER)
AVATARS = Topic("avatars.v1", 4, _FOR_EVER)
ACCOUNTS = Topic("accounts.v1", 1, _FOR_EVER)
LIVE = Topic(
    "live.v1",
    4,
    {
        "cleanup.policy": "compact,delete",
        "retention.ms": str(24 * 3600 * 1000),
        "segment.ms": "600000",
        "min.cleanable.dirty.ratio": "0.1",
    },
)
"""Live windows as they stand: the last record of a key is what it has come to."""
DEAD_LETTERS = Topic("dead_letters.v1", 1, {"retention.ms": str(30 * 24 * 3600 * 1000)})

ALL = (SESSIONS, WORKERS, ASSIGNMENTS, USAGE, AVATARS, ACCOUNTS, LIVE, DEAD_LETTERS)


@lru_cache(100_000)
def partition_of(key: bytes, partitions: int = SESSIONS.partitions) -> int:
    """Kafka's own partitioner: murmur2 of the key, sign bit cleared."""
    return int(murmur2(key) & 0x7FFFFFFF) % partitions


class TopicError(Exception):
    """A topic could not be brought into its wanted state."""


async def apply(bootstrap: str, prefix: str = "", replication: int = 1) -> list[str]:
    """Create what is missing and correct the settings of what is there; returns the names created.

    Raises TopicError when a topic exists with another number of partitions: for `sessions.v1` that can never be
    repaired in place, since keys would move.
    """
    admin = AIOKafkaAdminClient(bootstrap_servers=bootstrap, request_timeout_ms=15_000)
    await asyncio.wait_for(admin.start(), _TIMEOUT_S)
    try:
        return await asyncio.wait_for(_apply(admin, prefix, replication), _TIMEOUT_S)
    finally:
        await admin.close()


async def _apply(admin: AIOKafkaAdminClient, prefix: str, replication: int) -> list[str]:
    present = set(await admin.list_topics())
    missing = [topic for topic in ALL if prefix + topic.name not in present]
    if missing:
        answer = await admin.create_topics(
            [
                NewTopic(
                    name=prefix + topic.name,
                    num_partitions=topic.partitions,
                    replication_factor=replication,
                    topic_configs={**_ALWAYS, **topic.config},
                )
                for topic in missing
            ]
        )
        for name, code, *_ in answer.topic_errors:  # errors are returned, not raised
            if code not in (0, TopicAlreadyExistsError.errno):
                raise TopicError(f"topic {name} could not be created: {for_code(code).__name__}")
        await _until_known(admin, {prefix + topic.name for topic in missing})
    await _check_partitions(admin, prefix, {prefix + topic.name for topic in missing})
    await admin.alter_configs([_resource(prefix + topic.name, {**_ALWAYS, **topic.config}) for topic in ALL])
    return [prefix + topic.name for topic in missing]


async def keep_times(bootstrap: str, prefix: str, topics: Sequence[Topic]) -> None:
    """Have these keep the times that records come with, until the next `apply`. Returns when the brokers know."""
    kept = {"message.timestamp.type": "CreateTime"}
    admin = AIOKafkaAdminClient(bootstrap_servers=bootstrap, request_timeout_ms=15_000)
    await asyncio.wait_for(admin.start(), _TIMEOUT_S)
    try:
        async with asyncio.timeout(_TIMEOUT_S):
            named = {prefix + topic.name: {**_ALWAYS, **topic.config, **kept} for topic in topics}
            await admin.alter_configs([_resource(name, config) for name, config in named.items()])
            while not await _all_say(admin, named):
                await asyncio.sleep(_LOOK_AGAIN_S)
    finally:
        await admin.close()


async def _all_say(admin: AIOKafkaAdminClient, named: Mapping[str, Mapping[str, str]]) -> bool:
    answers = await admin.describe_configs([ConfigResource(ConfigResourceType.TOPIC, name) for name in named])
    said = {
        resource[3]: {entry[0]: entry[1] for entry in resource[4]}
        for answer in answers
        for resource in answer.resources
    }
    return all(config.items() <= said.get(name, {}).items() for name, config in named.items())


def _resource(name: str, config: dict[str, str]) -> ConfigResource:
    return ConfigResource(ConfigResourceType.TOPIC, name, configs=config)


async def _until_known(admin: AIOKafkaAdminClient, names: set[str]) -> None:
    """The controller has made them; a broker that has not heard of it yet would tell a producer that there are none."""
    while not names <= set(await admin.list_topics()):
        await asyncio.sleep(_LOOK_AGAIN_S)


async def _check_partitions(admin: AIOKafkaAdminClient, prefix: str, created: set[str]) -> None:
    wanted = {prefix + topic.name: topic.partitions for topic in ALL if prefix + topic.name not in created}
    if not wanted:
        return
    for found in await admin.describe_topics(list(wanted)):
        name, count = found["topic"], len(found["partitions"])
        if count != wanted[name]:
            raise TopicError(
                f"topic {name} has {count} partitions, wanted {wanted[name]}; it must be moved to a new topic"
            )
