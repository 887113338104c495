"""A log that a newer version has written to, and the processes of that version."""

from __future__ import annotations

import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from aiokafka import AIOKafkaProducer

from cli.processes import environment
from events import codec
from events.codec import encode
from events.topics import AVATARS, SESSIONS, Topic
from projections import names
from schemas.events import AvatarEvent, SessionEvent
from stack.process import Process, ProcessSpec
from tests.builders import event
from tests.world import World


def second(data: SessionEvent | AvatarEvent) -> tuple[str, bytes, codec.Headers]:
    """The event as of the next version."""
    told = event(data)
    value, headers = encode(told)
    version = f"urn:greenroom:{told.type}:2".encode()
    return told.subject, value, [(k, version if k == "ce_dataschema" else v) for k, v in headers]


class Writer:
    def __init__(self, world: World, producer: AIOKafkaProducer) -> None:
        self._world = world
        self._producer = producer

    async def put(self, data: SessionEvent | AvatarEvent, *, of_second: bool = False) -> None:
        if not of_second:
            await self._world.append(data)
            return
        topic: Topic = SESSIONS if isinstance(data, SessionEvent) else AVATARS
        key, value, headers = second(data)
        await self._producer.send_and_wait(self._world.prefix + topic.name, value, key.encode(), headers=headers)


@asynccontextmanager
async def writing(world: World) -> AsyncIterator[Writer]:
    producer = AIOKafkaProducer(bootstrap_servers=world.servers.kafka_bootstrap)
    await producer.start()
    try:
        yield Writer(world, producer)
    finally:
        await producer.stop()


async def start_newer(world: World, *wanted: str) -> None:
    command = [sys.executable, "-m", "tests.projections.newer", *wanted]
    name = "newer-" + "-".join(wanted)
    spec = ProcessSpec(name, command, environment("live" if wanted == (names.LIVE,) else "project", world.env))
    world.processes[name] = Process(spec, world.folder)
    await world.processes[name].start()
