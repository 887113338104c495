"""Kafka, as its clients see it: order within a partition, unknown outcomes, late appends, delays.

A producer is idempotent and in order within a partition: what was not acknowledged is tried again by the client itself
for as long as its process lives, however long ago its caller has given up.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from random import Random
from typing import Protocol

from aiokafka import TopicPartition
from aiokafka.errors import KafkaConnectionError

from events.codec import Event
from events.producer import SEND_TIMEOUT_S, UnknownOutcome, assignment_partition
from events.topics import ASSIGNMENTS, SESSIONS, WORKERS, Topic, partition_of
from tests.simulation.timeline import EPOCH_S, Process, Timeline

_MOST_S = 3.5
POLL_S = 1.0
"""How long a poll waits: longer than the product's, which is a way to run fewer steps and no other order of things."""


@dataclass(slots=True)
class Entry:
    """A record. `event` is what its bytes would decode to; None: a tombstone. `value` says only which of both."""

    topic: str
    partition: int
    offset: int
    timestamp: int
    key: bytes
    event: Event | None
    value: bytes | None
    headers: tuple[tuple[str, bytes | None], ...] = ()


class Place(Protocol):
    """Where a process runs."""

    process: Process | None


@dataclass
class Late:
    """Acknowledgements take `more_s` longer; `then` is told when one of a worker's state has come."""

    more_s: float
    then: Callable[[], object]


class Broker:
    def __init__(self, timeline: Timeline, random: Random) -> None:
        self.timeline = timeline
        self.random = random
        self.away = False
        self.slow = 1.0
        self.slowest = 0.0
        self.twice = 0.0
        """How likely a record is appended twice, as by a producer that began anew."""
        self.logs: dict[tuple[str, int], list[Entry]] = {}
        self.compacted: dict[tuple[str, int], int] = {}
        """Place → the offset before which only the last record of a key is left."""
        self.told: list[Callable[[Entry], object]] = []
        self.consumers: list[Consumer] = []
        self.answers_late: dict[Place, Late] = {}
        self._blocked: list[tuple[Process, Callable[[], object]]] = []

    def reachable(self, process: Process) -> bool:
        return not self.away and not process.cut and process.runs

    def delay(self) -> float:
        """Mostly milliseconds; now and then, and in slow times, seconds."""
        chance = self.random.random()
        base = 0.002 + 0.006 * chance if chance < 0.97 else 0.05 + 0.4 * self.random.random()
        delay = min(base * self.slow, _MOST_S)
        self.slowest = max(self.slowest, delay)
        return delay

    def once_reachable(self, process: Process, work: Callable[[], object]) -> None:
        """Now, or when both run and see each other again."""
        if self.reachable(process):
            work()
        elif process.alive:
            self._blocked.append((process, work))

    def look_again(self) -> None:
        """Something may be reachable again."""
        blocked, self._blocked = self._blocked, []
        for process, work in blocked:
            self.once_reachable(process, work)

    def log(self, topic: str, partition: int) -> list[Entry]:
        return self.logs.setdefault((topic, partition), [])

    def append(self, topic: str, partition: int, key: str, event: Event | None) -> None:
        log = self.log(topic, partition)
        now_ms = int((EPOCH_S + self.timeline.now) * 1000)
        entry = Entry(topic, partition, len(log), now_ms, key.encode(), event, b"" if event else None)
        log.append(entry)
        for tell in self.told:
            tell(entry)
        for consumer in self.consumers:
            if consumer.waits_for(topic, partition):
                self.timeline.after(self.delay(), consumer.wake)

    def compact(self, topic: Topic) -> None:
        for partition in range(topic.partitions):
            self.compacted[topic.name, partition] = len(self.log(topic.name, partition))

    def read(self, topic: str, partition: int, begin: int) -> list[Entry]:
        log = self.log(topic, partition)
        cleaned = self.compacted.get((topic, partition), 0)
        if begin >= cleaned:
            return log[begin:]
        last = {entry.key: entry.offset for entry in log[:cleaned]}
        return [e for e in log[begin:] if e.offset >= cleaned or last[e.key] == e.offset]


@dataclass
class _Batch:
    key: str
    event: Event | None
    acknowledged: asyncio.Future[object]
    appended: bool = False


@dataclass
class _Line:
    """What one producer has for one partition, in order."""

    topic: str
    partition: int
    waiting: deque[_Batch] = field(default_factory=deque)
    busy: bool = False


class Producer:
    """In the place of `EventProducer`."""

    def __init__(self, broker: Broker, process: Process) -> None:
        self._broker = broker
        self._process = process
        self._lines: dict[tuple[str, int], _Line] = {}

    async def send(self, topic: Topic, event: Event, timeout_s: float = SEND_TIMEOUT_S) -> None:
        await self._send(topic, event.subject, event, timeout_s)

    async def send_tombstone(self, topic: Topic, key: str, timeout_s: float = SEND_TIMEOUT_S) -> None:
        await self._send(topic, key, None, timeout_s)

    async def enqueue(self, topic: Topic, event: Event, timeout_s: float = SEND_TIMEOUT_S) -> asyncio.Future[object]:
        return self._put(topic, event.subject, event)

    async def _send(self, topic: Topic, key: str, event: Event | None, timeout_s: float) -> None:
        try:
            async with asyncio.timeout(timeout_s):
                await asyncio.shield(self._put(topic, key, event))
        except TimeoutError:
            raise UnknownOutcome(f"{key} was not acknowledged") from None

    def _put(self, topic: Topic, key: str, event: Event | None) -> asyncio.Future[object]:
        partition = assignment_partition(key) if topic is ASSIGNMENTS else 0
        if topic is SESSIONS:
            partition = partition_of(key.encode())
        line = self._lines.setdefault((topic.name, partition), _Line(topic.name, partition))
        batch = _Batch(key, event, self._process.loop.create_future())
        line.waiting.append(batch)
        if not line.busy:
            line.busy = True
            self._next(line)
        return batch.acknowledged

    def _next(self, line: _Line) -> None:
        self._broker.once_reachable(self._process, lambda: self._leaves(line))

    def _leaves(self, line: _Line) -> None:
        """On the wire: it arrives even if its sender dies now."""
        self._broker.timeline.after(self._broker.delay(), self._arrives, line)

    def _arrives(self, line: _Line) -> None:
        broker, batch = self._broker, line.waiting[0]
        if broker.away or self._process.cut:
            self._next(line)
            return
        if not batch.appended:
            batch.appended = True
            broker.append(line.topic, line.partition, batch.key, batch.event)
            if broker.twice and broker.random.random() < broker.twice:
                broker.append(line.topic, line.partition, batch.key, batch.event)
        late = self._late()
        broker.timeline.after(broker.delay() + (late.more_s if late else 0.0), self._answers, line)

    def _late(self) -> Late | None:
        late = self._broker.answers_late
        return next((late[place] for place in late if place.process is self._process), None) if late else None

    def _answers(self, line: _Line) -> None:
        if not self._process.alive:
            return
        if self._broker.away or self._process.cut:
            self._next(line)  # the client asks again, and is told that it is there already
            return
        late = self._late()
        if late is not None and line.topic == WORKERS.name:
            late.then()
        batch = line.waiting.popleft()
        self._process.loop.call_soon(_settle, batch.acknowledged)
        if line.waiting:
            self._next(line)
        else:
            line.busy = False


def _settle(future: asyncio.Future[object]) -> None:
    if not future.done():
        future.set_result(None)


class Consumer:
    """In the place of `AIOKafkaConsumer`, with partitions that it assigns itself."""

    def __init__(self, broker: Broker, process: Process, latest: bool) -> None:
        self._broker = broker
        self._process = process
        self._latest = latest
        self._places: dict[TopicPartition, int] = {}
        self._names: set[tuple[str, int]] = set()
        self._news: asyncio.Future[object] | None = None
        self._fetched_ms: int | None = None
        self._answered_ms = 0
        process.on_waking.append(self._woke)

    def _woke(self, pause_s: float) -> None:
        """What it reads first after a pause was fetched before it."""
        self._fetched_ms = int((EPOCH_S + self._broker.timeline.now - pause_s) * 1000)

    async def start(self) -> None:
        await asyncio.sleep(self._broker.delay())
        if not self._broker.reachable(self._process):
            await asyncio.sleep(1.0)
            raise KafkaConnectionError("no broker answers")
        self._broker.consumers.append(self)

    async def stop(self) -> None:
        if self in self._broker.consumers:
            self._broker.consumers.remove(self)

    def assign(self, places: list[TopicPartition]) -> None:
        for place in places:
            end = len(self._broker.log(place.topic, place.partition))
            self._places[place] = end if self._latest else 0
        self._names = {(place.topic, place.partition) for place in places}

    async def position(self, place: TopicPartition) -> int:
        return self._places[place]

    def seek(self, place: TopicPartition, offset: int) -> None:
        self._places[place] = offset

    def last_poll_timestamp(self, place: TopicPartition) -> int:
        """It asks all the time."""
        if self._broker.reachable(self._process):
            self._answered_ms = int((EPOCH_S + self._broker.timeline.now) * 1000)
        return self._answered_ms

    async def end_offsets(self, places: list[TopicPartition]) -> dict[TopicPartition, int]:
        await asyncio.sleep(self._broker.delay())
        if not self._broker.reachable(self._process):
            await asyncio.sleep(60)  # whoever asks gives up before
        return {place: len(self._broker.log(place.topic, place.partition)) for place in places}

    def waits_for(self, topic: str, partition: int) -> bool:
        return self._news is not None and (topic, partition) in self._names

    def wake(self) -> None:
        if self._news is not None and self._process.alive:
            self._process.loop.call_soon(_settle, self._news)

    async def getmany(self, timeout_ms: int = 0, max_records: int | None = None) -> dict[TopicPartition, list[Entry]]:
        found = self._take()
        if not found:
            self._news = self._process.loop.create_future()
            waiting = self._process.loop.call_later(max(POLL_S, timeout_ms / 1000), _settle, self._news)
            await self._news
            waiting.cancel()
            self._news = None
            found = self._take()
        return found

    def _take(self) -> dict[TopicPartition, list[Entry]]:
        """Sometimes only a part, as when the rest comes with the next answer."""
        if not self._broker.reachable(self._process):
            return {}
        found = {}
        fetched_ms, self._fetched_ms = self._fetched_ms, None
        for place, begin in self._places.items():
            if begin >= len(self._broker.log(place.topic, place.partition)):
                continue
            records = self._broker.read(place.topic, place.partition, begin)
            if fetched_ms is not None:
                records = [record for record in records if record.timestamp <= fetched_ms]
            if len(records) > 1 and self._broker.random.random() < 0.2:
                records = records[: (len(records) + 1) // 2]
            if records:
                found[place] = records
                self._places[place] = records[-1].offset + 1
        return found


WORKERS_ALONE = Topic(WORKERS.name, 1)
"""`workers.v1` with a single partition: fewer steps a second."""
