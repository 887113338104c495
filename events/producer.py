"""The one way to append to the log: idempotent, acks=all, a time-out on every await."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import time
import zlib
from collections.abc import Iterator, Sequence
from types import TracebackType
from typing import Any, Self

import structlog
from aiokafka import AIOKafkaProducer
from aiokafka.errors import (
    InvalidProducerIdMapping,
    KafkaError,
    OutOfOrderSequenceNumber,
    ProducerClosed,
    ProducerFenced,
    UnknownProducerId,
)
from aiokafka.producer.message_accumulator import BatchBuilder

from events import codec, metrics
from events.codec import Event, Record
from events.settings import LogSettings
from events.topics import ASSIGNMENTS, Topic, partition_of

START_TIMEOUT_S = 30.0
SEND_TIMEOUT_S = 4.0
_FLUSH_TIMEOUT_S = 4.0
_CLOSE_TIMEOUT_S = 5.0
_CREATE_TIME = 0
_SPOILT = (OutOfOrderSequenceNumber, ProducerFenced, UnknownProducerId, InvalidProducerIdMapping)
"""What a broker says that counts an idempotent producer's records otherwise than the producer does."""

log = structlog.get_logger()


class UnknownOutcome(Exception):
    """The append was not acknowledged in time: it may still happen. Send again only with the same event id."""


class TimesNotKept(Exception):
    """A topic that should keep the times of its records does not."""


class EventProducer:
    """Appends events. aiokafka never gives a batch of an idempotent producer up, so the time-outs are ours.

    Once a broker has called its sequence out of order, after an outage say, aiokafka's producer says so of every later
    record of that partition, until the process is started again (aiokafka #1017). So another one takes its place, with
    a number of its own; what the first one still had is an unknown outcome.
    """

    def __init__(self, settings: LogSettings, linger_ms: int = 0) -> None:
        self._settings = settings
        self._prefix = settings.topic_prefix
        self._linger_ms = linger_ms
        self._producer = self._made()
        self._spoilt = False
        self._stopped = False
        self._renewal: asyncio.Task[None] | None = None
        self._closing: set[asyncio.Task[None]] = set()

    def _made(self) -> AIOKafkaProducer:
        return AIOKafkaProducer(
            bootstrap_servers=self._settings.kafka_bootstrap,
            enable_idempotence=True,
            acks="all",
            linger_ms=self._linger_ms,
            max_batch_size=256 * 1024,
            request_timeout_ms=3000,
            retry_backoff_ms=50,
            metadata_max_age_ms=60_000,
        )

    async def start(self) -> None:
        """Raises TimeoutError, KafkaError."""
        try:
            await asyncio.wait_for(self._producer.start(), START_TIMEOUT_S)
        except BaseException:
            await self.stop()
            raise

    async def stop(self) -> None:
        """Flush what can be flushed; what cannot stays an unknown outcome, and is not tried again."""
        self._stopped = True
        if self._renewal is not None:
            self._renewal.cancel()
            await asyncio.wait([self._renewal])
        with contextlib.suppress(TimeoutError, KafkaError):
            await asyncio.wait_for(self._producer.flush(), _FLUSH_TIMEOUT_S)
        await _close(self._producer)
        if self._closing:
            await asyncio.wait(self._closing)

    async def _working(self) -> AIOKafkaProducer:
        """Raises KafkaError, TimeoutError. Who gives up waiting stops no renewal for others."""
        if self._stopped:
            raise ProducerClosed
        sender = self._producer._sender.sender_task
        if self._spoilt or (sender is not None and sender.done()):
            if self._renewal is None:
                self._renewal = asyncio.create_task(self._renew(), name="renew the producer")
                self._renewal.add_done_callback(_ignore_late_outcome)
            renewal = self._renewal
            await asyncio.wait([renewal])
            if renewal.cancelled():
                raise ProducerClosed
            renewal.result()
        return self._producer

    async def _renew(self) -> None:
        """Nobody waits for the end of the old one."""
        log.warning("the producer begins anew", reason="its records are out of order for a broker, or it has died")
        try:
            made = self._made()
            try:
                await asyncio.wait_for(made.start(), START_TIMEOUT_S)
            except BaseException:
                await _close(made)
                raise
            old, self._producer, self._spoilt = self._producer, made, False
            closing = asyncio.create_task(_close(old), name="close the producer before")
            self._closing.add(closing)
            closing.add_done_callback(self._closing.discard)
        finally:
            self._renewal = None

    def _acknowledged(self, future: asyncio.Future[object]) -> None:
        """It also fetches the exception, which asyncio would report as lost where nobody waits any more."""
        if not future.cancelled() and isinstance(future.exception(), _SPOILT):
            self._spoilt = True

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.stop()

    async def reachable(self, within_s: float) -> bool:
        """Whether some broker answers right now."""
        try:
            async with asyncio.timeout(within_s):
                return bool((await self._producer.client.fetch_all_metadata()).brokers())
        except (TimeoutError, KafkaError):
            return False

    async def enqueue(self, topic: Topic, event: Event, timeout_s: float = SEND_TIMEOUT_S) -> asyncio.Future[object]:
        """Put the event into the send buffer, in order; the future is done when Kafka has acknowledged it.

        Raises UnknownOutcome when the buffer stays full or the topic's metadata cannot be had.
        """
        try:
            async with asyncio.timeout(timeout_s):
                return await self._append(topic, event)
        except (TimeoutError, KafkaError) as failed:
            metrics.APPEND_TIMEOUTS.labels(topic.name).inc()
            raise UnknownOutcome(f"{event.type} {event.id} could not be enqueued") from failed

    async def send(self, topic: Topic, event: Event, timeout_s: float = SEND_TIMEOUT_S) -> None:
        """Append and wait for the acknowledgement. Raises UnknownOutcome."""
        try:
            with _measured(topic):
                async with asyncio.timeout(timeout_s):
                    # shielded: giving up waiting must not cancel a batch that other events share
                    await asyncio.shield(await self._append(topic, event))
        except (TimeoutError, KafkaError) as failed:
            raise UnknownOutcome(f"{event.type} {event.id} was not acknowledged within {timeout_s:.0f} s") from failed

    async def send_all(self, topic: Topic, events: Sequence[Event], timeout_s: float = SEND_TIMEOUT_S) -> None:
        """Append those of a key in this order, as few batches, and wait for all acknowledgements.

        Half the cost of one by one. Raises UnknownOutcome: any of them may be in the log or not.
        """
        try:
            async with asyncio.timeout(timeout_s):
                sent: list[asyncio.Future[object]] = []
                producer = await self._working()
                for partition, batch in self._batches(topic, events):
                    sent.append(await producer.send_batch(batch, self._prefix + topic.name, partition=partition))
                    sent[-1].add_done_callback(self._acknowledged)
                await asyncio.shield(asyncio.gather(*sent))
        except (TimeoutError, KafkaError) as failed:
            raise UnknownOutcome(f"{len(events)} events were not all acknowledged: {failed!r}") from failed

    def _batches(self, topic: Topic, events: Sequence[Event]) -> list[tuple[int, BatchBuilder]]:
        full, open_ = list[tuple[int, BatchBuilder]](), dict[int, BatchBuilder]()
        for event in events:
            value, headers = codec.encode(event)
            key = event.subject.encode()
            partition = partition_of(key, topic.partitions)
            batch = open_.get(partition)
            if batch is None or batch.append(timestamp=None, value=value, key=key, headers=headers) is None:
                if batch is not None:
                    full.append((partition, batch))
                batch = open_[partition] = self._producer.create_batch()
                batch.append(timestamp=None, value=value, key=key, headers=headers)
        return [*full, *open_.items()]

    async def _append(self, topic: Topic, event: Event) -> asyncio.Future[object]:
        value, headers = codec.encode(event)
        partition = assignment_partition(event.subject) if topic is ASSIGNMENTS else None
        return await self._put(topic, event.subject.encode(), value, headers, partition)

    async def _put(
        self,
        topic: Topic,
        key: bytes | None,
        value: bytes | None,
        headers: Sequence[tuple[str, bytes | None]] | None = None,
        partition: int | None = None,
    ) -> asyncio.Future[object]:
        """Into the send buffer; the future is done when Kafka has acknowledged it."""
        producer = await self._working()
        acknowledged: asyncio.Future[object] = await producer.send(
            self._prefix + topic.name, value=value, key=key, partition=partition, headers=headers
        )
        acknowledged.add_done_callback(self._acknowledged)
        return acknowledged

    async def send_as_it_is(
        self,
        topic: Topic,
        key: bytes | None,
        value: bytes | None,
        headers: Sequence[tuple[str, bytes | None]],
        timeout_s: float = SEND_TIMEOUT_S,
    ) -> None:
        """Append foreign bytes and wait for the acknowledgement. Raises UnknownOutcome."""
        try:
            with _measured(topic):
                async with asyncio.timeout(timeout_s):
                    await asyncio.shield(await self._put(topic, key, value, headers))
        except (TimeoutError, KafkaError) as failed:
            raise UnknownOutcome(f"a record for {topic.name} was not acknowledged: {failed!r}") from failed

    async def send_as_they_were(self, topic: Topic, partition: int, records: Sequence[Record], timeout_s: float) -> int:
        """Append foreign records in one or more batches, with their times; returns the offset of the first.

        The topic must keep the times that it is given. Raises UnknownOutcome; TimesNotKept when it has not.
        """
        first: int | None = None
        left = list(records)
        while left:
            batch, taken = self._producer.create_batch(), 0
            for record in left:
                headers = list(record.headers)
                if (
                    batch.append(timestamp=record.timestamp, key=record.key, value=record.value, headers=headers)
                    is None
                ):
                    break
                taken += 1
            batch.close()
            try:
                async with asyncio.timeout(timeout_s):
                    name = self._prefix + topic.name
                    sent = await (await self._working()).send_batch(batch, name, partition=partition)
                    sent.add_done_callback(self._acknowledged)
                    done = await asyncio.shield(sent)
            except (TimeoutError, KafkaError) as failed:
                raise UnknownOutcome(f"records for {topic.name} were not acknowledged: {failed!r}") from failed
            if done.timestamp_type != _CREATE_TIME:
                raise TimesNotKept(f"{name} has stamped records with a time of its own.")
            first, left = done.offset if first is None else first, left[taken:]
        assert first is not None
        return first

    async def send_tombstone(self, topic: Topic, key: str, timeout_s: float = SEND_TIMEOUT_S) -> None:
        """Delete `key` from a compacted topic. Raises UnknownOutcome."""
        try:
            with _measured(topic):
                async with asyncio.timeout(timeout_s):
                    await asyncio.shield(await self._put(topic, key.encode(), None))
        except (TimeoutError, KafkaError) as failed:
            raise UnknownOutcome(f"tombstone of {key} was not acknowledged") from failed


@contextlib.contextmanager
def _measured(topic: Topic) -> Iterator[None]:
    began = time.perf_counter()
    try:
        yield
    except (TimeoutError, KafkaError):
        metrics.APPEND_TIMEOUTS.labels(topic.name).inc()
        raise
    metrics.append_seconds(topic.name).observe(time.perf_counter() - began)


async def _close(producer: AIOKafkaProducer) -> None:
    """aiokafka's own `stop` waits for undelivered batches for ever, and what it waits for lives on when it is
    cancelled: so they are failed first, and their connections cut."""
    _fail_undelivered(producer)
    try:
        async with asyncio.timeout(_CLOSE_TIMEOUT_S):
            await producer.client.close()
            await producer.stop()
    except (TimeoutError, KafkaError):
        return
    except Exception as failed:  # a request that was under way puts back a batch that is not there any more
        log.info("producer closed with a request under way", reason=repr(failed))


def _fail_undelivered(producer: AIOKafkaProducer) -> None:
    accumulator = producer._message_accumulator
    for batch in (*accumulator._pending_batches, *itertools.chain.from_iterable(accumulator._batches.values())):
        batch.failure(ProducerClosed())
        batch._drain_waiter.exception()  # nobody else asks, and asyncio would report it as lost


def _ignore_late_outcome(future: asyncio.Future[Any]) -> None:
    """Somebody already treated it as unknown; fetching the exception keeps asyncio from reporting it as lost."""
    if not future.cancelled():
        future.exception()


def assignment_partition(worker_id: str) -> int:
    """CRC-32 of the worker's id modulo the partitions: explicit, so a worker knows its own before it asks anybody."""
    return zlib.crc32(worker_id.encode()) % ASSIGNMENTS.partitions
