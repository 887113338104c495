"""The workers as the roster sees them: who is alive, who is gone for ever, and the slots that they offer."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Callable
from dataclasses import dataclass

import structlog
from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.errors import KafkaError

from events import dead_letters
from events.codec import Malformed, Record, Unknown, decode
from events.producer import UnknownOutcome
from events.sealing import state_is_genuine
from events.settings import JoinSettings
from events.stopping import stop
from events.topics import WORKERS
from reactors.dispatch import Dispatch
from reactors.presence import LOST_AFTER_S, Presence
from schemas.events import WorkerState
from store import workers
from store.database import DatabaseUnreachable, Pool

log = structlog.get_logger()

STOPPED_GRACE_S = 1.0
"""A worker that stops has appended all its ends before its tombstone, in another topic: time to read them there. Where
that takes longer, decisions are made that the fold rejects for their seq."""
_END_CHECK_EVERY_S = 0.2
_NETWORK_TIMEOUT_S = 5.0


@dataclass
class Seen:
    """The last state record of a worker, and how many were read at the log's end."""

    state: WorkerState
    records: int


class Directory:
    """Reads all of `workers.v1`, for ever, and declares lost whom `presence.py` finds silent."""

    def __init__(
        self,
        settings: JoinSettings,
        pool: Pool,
        dispatch: Dispatch,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._settings = settings
        self._pool = pool
        self._dispatch = dispatch
        self._topic = settings.topic_prefix + WORKERS.name
        self._clock = clock
        self._presence = Presence(clock())
        self._target: tuple[float, dict[TopicPartition, int]] | None = None
        self._seen: dict[str, Seen] = {}
        self._registered: dict[str, str] = {}
        self._gone: set[str] = set()
        self._stopped_at: dict[str, float] = {}
        self._draining_since: dict[str, int] = {}

    def seen(self, worker_id: str) -> Seen | None:
        return self._seen.get(worker_id)

    def draining_since(self, worker_id: str) -> int | None:
        """Since when it takes nothing new and lets go of what it has: epoch ms of the log's clock."""
        return self._draining_since.get(worker_id)

    @property
    def at_end(self) -> bool:
        """Whether what is seen is what the workers say now."""
        return self._presence.at_end

    @property
    def unread_s(self) -> float:
        """How long ago the topic was last known to be read to its end; since it began, when it never was."""
        return self._clock() - self._presence.read_as_of

    def count(self, phase: str) -> int:
        """Workers that are not gone and were registered with this phase."""
        return sum(known == phase and each not in self._gone for each, known in self._registered.items())

    def gone(self, worker_id: str) -> bool:
        """Stopped, and its last words had time to be read, or declared lost: its sessions need a decision."""
        stopped_at = self._stopped_at.get(worker_id)
        return worker_id in self._gone and (stopped_at is None or self._clock() - stopped_at > STOPPED_GRACE_S)

    async def run(self) -> None:
        while True:
            try:
                await self._read()
            except (KafkaError, TimeoutError, DatabaseUnreachable) as failed:
                log.warning("worker directory interrupted", error=repr(failed))
                self._presence.broken()
                await asyncio.sleep(0.5)

    async def _read(self) -> None:
        consumer = AIOKafkaConsumer(bootstrap_servers=self._settings.kafka_bootstrap, auto_offset_reset="earliest")
        try:
            await asyncio.wait_for(consumer.start(), 30)
            partitions = [TopicPartition(self._topic, p) for p in range(WORKERS.partitions)]
            consumer.assign(partitions)
            self._target = None
            await self._know_gone()
            while True:
                self._presence.passes(self._clock())
                for records in (await consumer.getmany(timeout_ms=200, max_records=1000)).values():
                    for record in records:
                        await self._take(record)
                if await self._reached_end(consumer, partitions):
                    await self._declare_lost()
        finally:
            await stop(consumer)

    async def _reached_end(self, consumer: AIOKafkaConsumer, partitions: list[TopicPartition]) -> bool:
        """Whether all has been read that the topic held when its end was last asked for; then asks again, in a while.

        An outage raises, and breaks the presence.
        """
        if self._target is None:
            asked_at = self._clock()
            ends = await asyncio.wait_for(consumer.end_offsets(partitions), _NETWORK_TIMEOUT_S)
            self._target = (asked_at, ends)
        asked_at, ends = self._target
        for place in partitions:
            if await asyncio.wait_for(consumer.position(place), _NETWORK_TIMEOUT_S) < ends[place]:
                return False
        self._presence.reached(asked_at, self._clock())
        if self._clock() - asked_at < _END_CHECK_EVERY_S:
            return False
        self._target = None
        return True

    async def _take(self, record: Record) -> None:
        worker_id = (record.key or b"").decode(errors="replace")
        if record.value is None:
            if worker_id in self._registered and worker_id not in self._gone:
                self._stopped_at[worker_id] = self._clock()
                await self._bury(worker_id, "stopped")
            return
        try:
            state = decode(record).data
        except Malformed as broken:
            dead_letters.tell("directory", [(record, str(broken))])
            return
        except Unknown as unknown:
            log.warning("worker state of a newer version", worker_id=worker_id, reason=str(unknown))
            return
        secret = self._settings.join_secret.get_secret_value()
        if not isinstance(state, WorkerState) or state.worker_id != worker_id or not state_is_genuine(state, secret):
            log.warning("worker state not genuine: is the join secret the same?", worker_id=worker_id)
            return
        seen = self._seen.get(worker_id)
        records = seen.records if seen else 0
        # What is read on the way to the end may be older than any session of today: it says nothing of what is held.
        self._seen[worker_id] = Seen(state, records + 1 if self._presence.at_end else records)
        self._presence.heard(worker_id, self._clock())
        if state.phase == "draining":
            self._draining_since.setdefault(worker_id, record.timestamp)
        if worker_id in self._gone:
            if self._presence.at_end:
                await self._retire(worker_id)
        elif self._registered.get(worker_id) != state.phase and self._presence.at_end:
            # Only at the log's end: what was read on the way there may be long dead, and says so again in a second.
            await self._register(state)

    async def _register(self, state: WorkerState) -> None:
        async with self._pool.connection(within_s=_NETWORK_TIMEOUT_S) as connection:
            phase = await workers.register(connection, state)
        if phase == "gone":
            self._gone.add(state.worker_id)
            await self._retire(state.worker_id)
        else:
            self._registered[state.worker_id] = state.phase
            log.info("worker registered", worker_id=state.worker_id, phase=state.phase, slots=state.slots)

    async def _declare_lost(self) -> None:
        if not self._presence.judges:
            return
        unheard = await self._never_heard()
        for worker_id in [*self._presence.silent(), *unheard]:
            if worker_id not in self._gone:
                await self._bury(worker_id, "lost")

    async def _never_heard(self) -> list[str]:
        """Registered once, but not one record since this process reads: their records were compacted away."""
        async with self._pool.connection(within_s=_NETWORK_TIMEOUT_S) as connection:
            # Another roster may have registered it just now, from a record that this one reads next.
            known = await workers.present(connection, LOST_AFTER_S)
        return [worker_id for worker_id in known if worker_id not in self._seen]

    async def _bury(self, worker_id: str, why: str) -> None:
        async with self._pool.connection(within_s=_NETWORK_TIMEOUT_S) as connection:
            if why == "lost" and self._presence.stale(self._clock()):
                return  # the database let us wait: it may have come back meanwhile, and what it says is not read yet
            known = await workers.bury(connection, worker_id)
        self._presence.forget(worker_id)
        self._draining_since.pop(worker_id, None)
        if not known:
            return  # it holds nothing and nothing would remember its end: should it speak again, it is let in
        self._gone.add(worker_id)
        log.warning("worker gone", worker_id=worker_id, why=why)

    async def _know_gone(self) -> None:
        async with self._pool.connection(within_s=_NETWORK_TIMEOUT_S) as connection:
            phases = await workers.phases(connection)
        self._gone = {worker_id for worker_id, phase in phases.items() if phase == "gone"}
        self._registered = {worker_id: phase for worker_id, phase in phases.items() if phase != "gone"}

    async def _retire(self, worker_id: str) -> None:
        with contextlib.suppress(UnknownOutcome):  # its next state record, a second later, has us try again
            await self._dispatch.retire(worker_id)
