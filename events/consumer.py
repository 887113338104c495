"""The consumer loop: batches from a topic to a handler that keeps its own offsets.

The handler stores its position in its own transaction; this loop only seeks to it and fetches. Kafka's committed
offsets are written now and then, as a hint for lag tools, and never read.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Protocol

import structlog
from aiokafka import AIOKafkaConsumer, ConsumerRebalanceListener, TopicPartition
from aiokafka.errors import KafkaError, NoOffsetForPartitionError, OffsetOutOfRangeError

from events.codec import Record
from events.offsets import end_offsets
from events.settings import LogSettings
from events.stopping import stop
from events.topics import Topic

log = structlog.get_logger()

BATCH = 4000
LINGER_S = 0.010
_QUIET_S = 0.050
"""After so long without a record the next one waits for no company."""
_POLL_MS = 500
_START_TIMEOUT_S = 30.0
_HINT_EVERY_S = 5.0
_OFFSETS_TIMEOUT_S = 15.0
_GAP_LOOKS = 3
_STUCK_S = 60.0
_SILENT_ROUNDS = 120
"""A minute of them; not a clock, since a process that was frozen has not asked."""
_GRACE_ROUNDS = 20
_RECOVER_DELAY_S = 0.5
_DROPPED_PAUSE_S = 0.1

Batches = Mapping[int, Sequence[Record]]
"""Partition → records, in offset order."""


class Handler(Protocol):
    async def assigned(self, partitions: frozenset[int], fresh: bool) -> Mapping[int, int]:
        """Own exactly these partitions from now on; returns where to read on in each.

        Not `fresh` after a failure: what was lost to another owner since the last fresh call is read, and left to it.
        """

    async def handle(self, batches: Batches) -> None:
        """Work on records. Empty when nothing came for a while: surface what failed in the background."""

    async def drain(self) -> None:
        """Finish what is under way; the partitions may be gone after this."""

    def positions(self) -> Mapping[int, int]:
        """The next offset of each partition that is worked on, as committed."""

    def saw(self, ends: Mapping[int, int], heard_s: float) -> None:
        """Partition → where the log was known to end `heard_s` seconds ago, when Kafka last said so. Each round."""


class Recoverable(Exception):
    """The handler could not store its work: drop the batch, ask it again where to go on."""


class Stuck(Exception):
    """The consumer lags and does not move, or is not answered by a Kafka that is there."""


class LogGap(Exception):
    """Events are missing from the log. Restore it before anything is derived from it again."""


class LogConsumer(ConsumerRebalanceListener):  # type: ignore[misc]
    """One member of a consumer group on one topic."""

    def __init__(
        self, settings: LogSettings, topic: Topic, group: str, handler: Handler, *, hinted: bool = True
    ) -> None:
        """`hinted`: not for a group that will end: without offsets in Kafka it is forgotten with its last member, and
        no lag tool shows one that nobody will ever catch up."""
        self._hinted = hinted
        self._settings = settings
        self._of = topic
        self._topic = settings.topic_prefix + topic.name
        self._group = settings.topic_prefix + group
        self._handler = handler
        self._lock = asyncio.Lock()
        self._epoch = 0
        self._owned: frozenset[int] = frozenset()
        self._failed: BaseException | None = None
        self._hinted_at = 0.0
        self._read_at = 0.0
        self._moved_at = time.monotonic()
        self._answered_ms = 0
        self._silent_rounds = 0
        self._consumer: AIOKafkaConsumer | None = None
        self._next: dict[int, int] = {}
        """Partition → the offset that must come next."""
        self._missed: dict[int, int] = {}
        """Partition → the offset that did not come when it was fetched last."""

    @property
    def joined(self) -> bool:
        """Whether the group has given it its partitions: none, where there are more members than partitions."""
        return self._epoch > 0

    async def run(self) -> None:
        """Consume until cancelled."""
        consumer = AIOKafkaConsumer(
            bootstrap_servers=self._settings.kafka_bootstrap,
            group_id=self._group,
            enable_auto_commit=False,
            auto_offset_reset="none",  # a position that the log does not have is looked into, never moved in silence
            session_timeout_ms=6000,
            heartbeat_interval_ms=1500,
            max_poll_interval_ms=60_000,
            max_partition_fetch_bytes=256 * 1024,  # × 24 partitions are buffered ahead
            fetch_max_wait_ms=250,
            request_timeout_ms=10_000,
            metadata_max_age_ms=30_000,  # a topic that was made again is seen after this
        )
        self._consumer = consumer
        consumer.subscribe([self._topic], listener=self)
        try:
            await asyncio.wait_for(consumer.start(), _START_TIMEOUT_S)
            while True:
                await self._round(consumer)
        finally:
            async with self._lock:
                await self._handler.drain()
            await stop(consumer)

    async def _round(self, consumer: AIOKafkaConsumer) -> None:
        try:
            epoch, batches = await self._collect(consumer)
        except (OffsetOutOfRangeError, NoOffsetForPartitionError):  # the log has changed; or nothing is bound yet
            async with self._lock:
                await self._recover(consumer)
            return
        ends = self._look(consumer)
        async with self._lock:
            if self._failed is not None:
                failed, self._failed = self._failed, None
                if not isinstance(failed, Recoverable):
                    raise failed
                await self._recover(consumer)
                return
            if epoch != self._epoch:
                # Partitions moved while we fetched. Some of these records may be the new owner's, that is ours, and the
                # consumer is already past them: dropping them needs a new seek, or they would be skipped for ever.
                await self._recover(consumer)
                return
            try:
                self._refuse_holes(batches)
                await self._handler.handle(batches)
            except Recoverable as failure:
                log.warning("batch dropped", group=self._group, reason=str(failure))
                await asyncio.sleep(_DROPPED_PAUSE_S)
                await self._recover(consumer)
                return
        self._watch(ends, batches.keys())
        if not batches:
            await self._refuse_silence(consumer)
        self._hint(consumer)

    def _look(self, consumer: AIOKafkaConsumer) -> Mapping[int, int]:
        """Where the log ends in each partition that has been fetched from, as the last answers of Kafka say."""
        places = consumer.assignment()
        heard = [at for place in places if (at := consumer.last_poll_timestamp(place)) is not None]
        found = {place.partition: consumer.highwater(place) for place in places}
        ends = {partition: end for partition, end in found.items() if end is not None}
        self._handler.saw(ends, max(0.0, time.time() - min(heard) / 1000) if heard else 0.0)
        return ends

    def _watch(self, ends: Mapping[int, int], read: Collection[int]) -> None:
        """Exit a process that stands still although there is more to read: a restart is the only cure known."""
        now = time.monotonic()
        positions = self._handler.positions()  # without those that another process works on
        behind = any(end > positions[partition] for partition, end in ends.items() if partition in positions)
        if not behind or any(partition in positions for partition in read):
            self._moved_at = now
        elif now - self._moved_at > _STUCK_S:
            raise Stuck(f"{self._group} has been behind without progress for {_STUCK_S:.0f} s")

    async def _refuse_silence(self, consumer: AIOKafkaConsumer) -> None:
        """`_watch` knows the end of the log from Kafka's answers: without any it would see nothing to read, for ever.

        A client whose fetching ended with an outage is known. Kafka that is away is waited for, and so is the answer of
        one that has just come back.
        """
        places = consumer.assignment()
        answered_ms = max((consumer.last_poll_timestamp(place) or 0 for place in places), default=0)
        if not places or answered_ms != self._answered_ms:
            self._answered_ms, self._silent_rounds = answered_ms, 0
            return
        self._silent_rounds += 1
        if self._silent_rounds == _SILENT_ROUNDS:
            try:
                await end_offsets(self._settings, self._of, {place.partition for place in places})
            except (KafkaError, TimeoutError):
                self._silent_rounds = 0
        elif self._silent_rounds > _SILENT_ROUNDS + _GRACE_ROUNDS:
            raise Stuck(f"{self._group} has had no answer for a minute, and others have")

    async def _collect(self, consumer: AIOKafkaConsumer) -> tuple[int, Batches]:
        """Records until the batch is full or LINGER_S after the first one: a deadline, not an idle gap.

        The first one after a quiet time comes at once: nobody would join it, and somebody waits for it.
        """
        epoch = self._epoch
        batches: dict[int, list[Record]] = {}
        count, deadline, timeout_ms = 0, 0.0, _POLL_MS
        while True:
            for partition, records in (
                await consumer.getmany(timeout_ms=timeout_ms, max_records=BATCH - count)
            ).items():
                batches.setdefault(partition.partition, []).extend(records)
                count += len(records)
            now = time.monotonic()
            if count and not deadline:
                deadline = now + LINGER_S if now - self._read_at < _QUIET_S else now
            if count:
                self._read_at = now
            left_ms = int((deadline - now) * 1000)
            if not count or count >= BATCH or left_ms < 1 or epoch != self._epoch:
                return epoch, batches
            timeout_ms = left_ms  # never 0: getmany(timeout_ms=0) does not yield when nothing is buffered

    async def on_partitions_revoked(self, revoked: Iterable[TopicPartition]) -> None:
        async with self._lock:
            self._epoch += 1
            await self._handler.drain()

    async def on_partitions_assigned(self, assigned: Iterable[TopicPartition]) -> None:
        async with self._lock:
            self._epoch += 1
            self._owned = frozenset(p.partition for p in assigned)
            assert self._consumer is not None
            try:
                await self._bind(self._consumer, fresh=True)
            except Exception as failure:
                log.warning("binding failed", group=self._group, reason=str(failure))
                self._failed = failure  # the loop recovers or raises it; aiokafka logs what is raised here, and goes on
            # While the handler was asked, the loop may have fetched from where the hint in Kafka says.
            self._epoch += 1

    async def _bind(self, consumer: AIOKafkaConsumer, fresh: bool) -> None:
        positions = await self._handler.assigned(self._owned, fresh)
        places = {TopicPartition(self._topic, partition): offset for partition, offset in positions.items()}
        if places:
            await self._refuse_gap(consumer, places)
        for place in places.keys() & consumer.assignment():  # a rebalance may just have taken some; it binds anew
            consumer.seek(place, places[place])
        self._next = dict(positions)

    def _refuse_holes(self, batches: Batches) -> None:
        """These topics have no holes. A first one means that records were dropped on the way: they are fetched again.

        Raises Recoverable; LogGap when the log itself has lost them, since nothing may be skipped in silence.
        """
        for partition, records in batches.items():
            expected = self._next.get(partition, records[0].offset)
            for record in records:
                if record.offset > expected:
                    told = f"offsets {expected} to {record.offset - 1} of partition {partition} of {self._topic}"
                    if self._missed.get(partition) == expected:
                        raise LogGap(f"{told} are gone. Restore the log before anything is derived from it again.")
                    self._missed[partition] = expected
                    raise Recoverable(f"{told} did not come")
                expected = max(expected, record.offset + 1)
            self._next[partition] = expected
            self._missed.pop(partition, None)

    async def _refuse_gap(self, consumer: AIOKafkaConsumer, places: Mapping[TopicPartition, int]) -> None:
        """What was read before must still be in the log, and what comes next too. Raises LogGap.

        Looked at more than once: a leader that has just come up may not know its end yet.
        """
        for look in range(1, _GAP_LOOKS + 1):
            try:
                async with asyncio.timeout(_OFFSETS_TIMEOUT_S):
                    begins = await consumer.beginning_offsets(list(places))
                    ends = await consumer.end_offsets(list(places))
            except (TimeoutError, KafkaError) as failure:
                raise Recoverable(f"the log's offsets cannot be had: {failure!r}") from failure
            missing = [_gap(place, at, begins[place], ends[place]) for place, at in places.items()]
            told = "; ".join(filter(None, missing))
            if not told:
                return
            if look == _GAP_LOOKS:
                raise LogGap(f"{told}. Restore the log before anything is derived from it again.")
            await asyncio.sleep(1)

    async def _recover(self, consumer: AIOKafkaConsumer) -> None:
        self._epoch += 1
        try:
            await self._bind(consumer, fresh=False)
        except Recoverable as failure:
            self._failed = failure
            log.warning("still not recovered", group=self._group, reason=str(failure))
            await asyncio.sleep(_RECOVER_DELAY_S)

    def _hint(self, consumer: AIOKafkaConsumer) -> None:
        now = time.monotonic()
        if not self._hinted or now - self._hinted_at < _HINT_EVERY_S:
            return
        self._hinted_at = now
        offsets = {TopicPartition(self._topic, p): o for p, o in self._handler.positions().items() if o}
        if offsets:
            self._hint_task = asyncio.create_task(_commit_hint(consumer, offsets))


def _gap(place: TopicPartition, at: int, begin: int, end: int) -> str:
    """What is missing for somebody who stands `at` there; nothing in the usual case."""
    if at < begin:
        return f"partition {place.partition} of {place.topic} has lost offsets {at} to {begin - 1}"
    if at > end:
        return f"partition {place.partition} of {place.topic} ends at offset {end} and was read up to {at}"
    return ""


async def _commit_hint(consumer: AIOKafkaConsumer, offsets: dict[TopicPartition, int]) -> None:
    with contextlib.suppress(KafkaError, TimeoutError):
        await asyncio.wait_for(consumer.commit(offsets), 5)
