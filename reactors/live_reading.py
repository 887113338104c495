"""The stream processors of `greenroom live`, on faust-streaming: of sessions into windows, of workers into who is
there.

Faust reads, spreads the partitions over all such processes, and hands over batches. Where to read is not its affair: it
acknowledges what it hands over, done or not, so its commits are a hint for lag tools; where a partition goes on is said
by the checkpoints, as everywhere else. It has no way back to a position while it runs. So whatever fails ends the
process, and the next one goes on from what was stored.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Any, NamedTuple

import faust
import structlog
from aiokafka.errors import KafkaError
from faust.streams import Stream
from faust.transport.drivers.aiokafka import Consumer
from faust.types import TP, EventT, StreamT

from events.consumer import LogGap, Stuck
from events.offsets import end_offsets
from events.settings import LogSettings
from events.stopping import stop
from events.topics import SESSIONS, WORKERS
from projections.handling import FoldingHandler
from projections.live import Seen
from reactors.live_workers import WorkersSeen

log = structlog.get_logger()

BATCH = 2000
WITHIN_S = 0.5
"""Records are gathered for so long: windows that people look at need no more, and each batch is a transaction."""
LOOK_S = 5.0
_STUCK_LOOKS = 12
_START_WITHIN_S = 60.0
_PLACED_WITHIN_S = 8.0
"""Faust asks for 10 s where to go on; without an answer it would go on without a word, and without a record."""


class Read(NamedTuple):
    """A record as faust read it, in the form of `events.codec.Record`."""

    topic: str
    partition: int
    offset: int
    timestamp: int
    key: bytes | None
    value: bytes | None
    headers: Sequence[tuple[str, bytes | None]]


class _Consumer(Consumer):
    """Faust asks where to go on after every rebalance."""

    async def seek_to_committed(self) -> Mapping[TP, int]:
        places: Mapping[TP, int] = await self.app.conf.live_reader.places(self.assignment())
        await self.seek_wait(places)
        return places


class _App(faust.App):
    def _create_directories(self) -> None:
        """For tables, of which there are none: it would make them wherever it is started."""


class Reader:
    """Both agents of one process. `run` raises what any part of it failed with."""

    def __init__(
        self,
        settings: LogSettings,
        handler: FoldingHandler[Seen],
        workers: WorkersSeen,
        workers_from: Mapping[int, int],
    ) -> None:
        """`workers_from`: partition of `workers.v1` → where to begin."""
        self._settings = settings
        self._handler = handler
        self._workers = workers
        self._workers_at = dict(workers_from)
        self._next: dict[int, int] = {}
        """Partition of `sessions.v1` → the offset that must come next."""
        self._read_to: dict[int, int] = {}
        """The same, of all that were ever ours."""
        self._lock = asyncio.Lock()
        self._failed: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.app = self._application()

    def _application(self) -> faust.App:
        prefix = self._settings.topic_prefix
        app = _App(
            f"{prefix}live",
            broker=[f"kafka://{each.strip()}" for each in self._settings.kafka_bootstrap.split(",")],
            topic_allow_declare=False,  # `greenroom topics apply` makes topics
            topic_disable_leader=True,
            consumer_auto_offset_reset="earliest",
            consumer_connections_max_idle_ms=540_000,
            broker_request_timeout=10.0,
            broker_session_timeout=6.0,
            broker_heartbeat_interval=1.5,
            stream_wait_empty=False,
            web_enabled=False,
            store="memory://",
        )
        app.conf.live_reader = self
        app.transport.Consumer = _Consumer  # type: ignore[misc]  # the one place where faust lets it be chosen
        raw: Any = {"key_type": bytes, "value_type": bytes, "key_serializer": "raw", "value_serializer": "raw"}
        app.agent(app.topic(prefix + SESSIONS.name, **raw), name="sessions", concurrency=1)(self._read_sessions)
        app.agent(app.topic(prefix + WORKERS.name, **raw), name="workers", concurrency=1)(self._read_workers)
        app.on_partitions_revoked.connect(self._revoked)
        return app

    async def run(self) -> None:
        """Until cancelled. Raises LogGap, Stuck, Recoverable, and what Kafka and faust fail with."""
        logging.getLogger("faust").setLevel(logging.WARNING)
        logging.getLogger("mode").setLevel(logging.WARNING)
        watching = asyncio.create_task(self._watch())
        try:
            async with asyncio.timeout(_START_WITHIN_S):
                await self.app.start()
            await asyncio.wait([self._failed, watching], return_when=asyncio.FIRST_COMPLETED)
            for done in (self._failed, watching):
                if done.done():
                    done.result()
        finally:
            watching.cancel()
            await asyncio.gather(watching, return_exceptions=True)
            async with self._lock:
                await self._handler.drain()
            await stop(self.app)

    # Where to read

    async def places(self, assigned: frozenset[TP] | set[TP]) -> dict[TP, int]:
        """Where each of these partitions goes on. From now on they are this process's."""
        name = self._settings.topic_prefix + SESSIONS.name
        mine = frozenset(place.partition for place in assigned if place.topic == name)
        try:
            async with asyncio.timeout(_PLACED_WITHIN_S), self._lock:
                self._next = dict(await self._handler.assigned(mine, fresh=True))
        except (TimeoutError, asyncio.CancelledError):
            self._fail(Stuck("the database did not say in time where live windows go on"))
            raise
        except Exception as failed:
            self._fail(failed)
            raise
        return {
            place: self._next[place.partition] if place.topic == name else self._workers_at.get(place.partition, 0)
            for place in assigned
        }

    async def _revoked(self, *_: object, **__: object) -> None:
        """What was read and not yet handled is read by whoever gets the partitions."""
        async with self._lock:
            self._next.clear()
            await self._handler.drain()

    # What was read

    async def _read_sessions(self, stream: StreamT[bytes]) -> None:
        async for events in _batches(stream):
            await self._handle([_read(event) for event in events])

    async def _handle(self, records: Sequence[Read]) -> None:
        """Those that come next, in the order of each partition. What else faust still holds was read before it was told
        where to go on, and comes again."""
        async with self._lock:
            if self._failed.done():
                return
            batches: dict[int, list[Read]] = {}
            for record in records:
                if record.offset == self._next.get(record.partition):
                    batches.setdefault(record.partition, []).append(record)
                    self._next[record.partition] += 1
            try:
                self._read_to.update(self._next)
                await self._handler.handle(batches)
            except Exception as failed:
                self._fail(failed)

    async def _read_workers(self, stream: StreamT[bytes]) -> None:
        async for events in _batches(stream):
            for record in map(_read, events):
                self._workers.hear(record)
                self._workers_at[record.partition] = record.offset + 1

    def _fail(self, failed: Exception) -> None:
        if not self._failed.done():
            self._failed.set_exception(failed)

    # Whether it moves

    async def _watch(self) -> None:
        """Surfaces what failed in the background, a log that was lost, and a reader that stands still."""
        stood: dict[int, int] = {}
        before = dict(self._next)
        while True:
            await asyncio.sleep(LOOK_S)
            if self.app.crashed:
                raise Stuck("the stream processors of live windows have crashed; the log says why")
            await self._handle([])
            try:
                now, read = dict(self._next), dict(self._read_to)
                ends = await end_offsets(self._settings, SESSIONS)
            except (KafkaError, TimeoutError) as failed:  # faust waits for it, too
                log.warning("the end of the log cannot be had", reason=repr(failed))
                continue
            self._handler.saw({partition: ends[partition] for partition in now}, 0.0)
            if lost := sorted(partition for partition, at in read.items() if at > ends.get(partition, at)):
                raise LogGap(f"partitions {lost} of {SESSIONS.name} end before what was read; live windows begin anew.")
            stand = [partition for partition, at in now.items() if at < ends[partition] and before.get(partition) == at]
            stood = {partition: stood.get(partition, 0) + 1 for partition in stand}
            if stuck := sorted(partition for partition, looks in stood.items() if looks > _STUCK_LOOKS):
                raise Stuck(f"partitions {stuck} are behind without progress for {_STUCK_LOOKS * LOOK_S:.0f} s")
            before = now


def _batches(stream: StreamT[bytes]) -> AsyncIterator[Sequence[EventT[bytes]]]:
    assert isinstance(stream, Stream)
    return stream.take_events(BATCH, within=WITHIN_S)


def _read(event: EventT[bytes]) -> Read:
    message: Any = event.message
    return Read(
        message.topic,
        message.partition,
        message.offset,
        round(message.timestamp * 1000),
        message.key,
        message.value,
        message.headers or (),
    )
