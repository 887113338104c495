"""The workers as the roster sees them: who is alive, who is gone for ever, and the slots that they offer."""

from __future__ import annotations

import asyncio
import contextlib
import time
from dataclasses import dataclass
from typing import Any

import structlog
from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.errors import KafkaError

from events.codec import Malformed, Unknown, decode, new_event
from events.producer import EventProducer, UnknownOutcome
from events.sealing import state_is_genuine
from events.settings import LogSettings
from events.topics import ASSIGNMENTS, WORKERS
from projections.database import Connection, DatabaseUnreachable, Pool
from schemas.events import AssignmentRetire, WorkerState

log = structlog.get_logger()

LOST_AFTER_S = 11.5
"""A worker's own lease is 10 s from sending; this counts from reading, so its end always comes later."""
STOPPED_GRACE_S = 3.0
"""A worker that stops has appended all its ends before its tombstone, in another topic: time to read them there."""
_END_CHECK_EVERY_S = 0.5
_NETWORK_TIMEOUT_S = 5.0
SOURCE = "greenroom/roster"


@dataclass
class Seen:
    """The last state record of a worker and when it was read, on the monotonic clock."""

    state: WorkerState
    read_at: float
    records: int = 1


class Directory:
    """Reads all of `workers.v1`, for ever. Nobody is declared lost unless this has been at the log's end for
    LOST_AFTER_S without a break: silence of Kafka is not silence of a worker."""

    def __init__(self, settings: LogSettings, pool: Pool, producer: EventProducer) -> None:
        self._settings = settings
        self._pool = pool
        self._producer = producer
        self._topic = settings.topic_prefix + WORKERS.name
        self._at_end_since: float | None = None
        self._ends_before: dict[TopicPartition, int] = {}
        self._seen: dict[str, Seen] = {}
        self._registered: dict[str, str] = {}
        self._gone: set[str] = set()
        self._stopped_at: dict[str, float] = {}

    def seen(self, worker_id: str) -> Seen | None:
        return self._seen.get(worker_id)

    def gone(self, worker_id: str) -> bool:
        """Stopped, and its last words had time to be read, or declared lost: its sessions need a decision."""
        stopped_at = self._stopped_at.get(worker_id)
        return worker_id in self._gone and (stopped_at is None or time.monotonic() - stopped_at > STOPPED_GRACE_S)

    async def run(self) -> None:
        while True:
            try:
                await self._read()
            except (KafkaError, TimeoutError, DatabaseUnreachable) as failed:
                log.warning("worker directory interrupted", error=repr(failed))
                self._at_end_since = None
                await asyncio.sleep(0.5)

    async def _read(self) -> None:
        consumer = AIOKafkaConsumer(bootstrap_servers=self._settings.kafka_bootstrap, auto_offset_reset="earliest")
        await asyncio.wait_for(consumer.start(), 30)
        try:
            partitions = [TopicPartition(self._topic, p) for p in range(WORKERS.partitions)]
            consumer.assign(partitions)
            self._ends_before = {}
            await self._know_gone()
            checked = 0.0
            while True:
                for records in (await consumer.getmany(timeout_ms=200, max_records=1000)).values():
                    for record in records:
                        await self._take(record)
                if time.monotonic() - checked > _END_CHECK_EVERY_S:
                    await self._check_end(consumer, partitions)
                    checked = time.monotonic()
                    await self._declare_lost()
        finally:
            with contextlib.suppress(TimeoutError, KafkaError):
                await asyncio.wait_for(consumer.stop(), _NETWORK_TIMEOUT_S)

    async def _check_end(self, consumer: AIOKafkaConsumer, partitions: list[TopicPartition]) -> None:
        """Up to date: all that was in the log at the check before has been read. An outage raises, and breaks it."""
        positions = [await asyncio.wait_for(consumer.position(p), _NETWORK_TIMEOUT_S) for p in partitions]
        behind = any(at < self._ends_before.get(p, 0) for p, at in zip(partitions, positions, strict=True))
        first = not self._ends_before
        self._ends_before = await asyncio.wait_for(consumer.end_offsets(partitions), _NETWORK_TIMEOUT_S)
        if behind or first:
            self._at_end_since = None
        elif self._at_end_since is None:
            self._at_end_since = time.monotonic()

    async def _take(self, record: Any) -> None:
        worker_id = (record.key or b"").decode(errors="replace")
        if record.value is None:
            if worker_id in self._registered and worker_id not in self._gone:
                self._stopped_at[worker_id] = time.monotonic()
                await self._bury(worker_id, "stopped")
            return
        try:
            state = decode(record.value, record.headers).data
        except (Malformed, Unknown) as unreadable:
            log.warning("worker state not readable", worker_id=worker_id, reason=str(unreadable))
            return
        secret = self._settings.join_secret.get_secret_value()
        if not isinstance(state, WorkerState) or state.worker_id != worker_id or not state_is_genuine(state, secret):
            log.warning("worker state not genuine: is the join secret the same?", worker_id=worker_id)
            return
        seen = self._seen.get(worker_id)
        self._seen[worker_id] = Seen(state, time.monotonic(), seen.records + 1 if seen else 1)
        if worker_id in self._gone:
            await self._retire(worker_id)
        elif self._registered.get(worker_id) != state.phase and self._at_end_since is not None:
            # Only at the log's end: what was read on the way there may be long dead, and says so again in a second.
            await self._register(state)

    async def _register(self, state: WorkerState) -> None:
        async with self._pool.connection() as connection:
            phase = await register(connection, state)
        if phase == "gone":
            self._gone.add(state.worker_id)
            await self._retire(state.worker_id)
        else:
            self._registered[state.worker_id] = state.phase
            log.info("worker registered", worker_id=state.worker_id, phase=state.phase, slots=state.slots)

    async def _declare_lost(self) -> None:
        now = time.monotonic()
        if self._at_end_since is None or now - self._at_end_since < LOST_AFTER_S:
            return
        for worker_id, seen in list(self._seen.items()):
            if worker_id not in self._gone and now - seen.read_at > LOST_AFTER_S:
                await self._bury(worker_id, "lost")
        for worker_id in await self._silent(now):
            await self._bury(worker_id, "lost")

    async def _silent(self, now: float) -> list[str]:
        """Registered once, but not one record since this process reads: their records were compacted away."""
        async with self._pool.connection() as connection:
            cursor = await connection.execute("SELECT worker_id FROM workers WHERE phase <> 'gone'")
            return [row[0] for row in await cursor.fetchall() if row[0] not in self._seen]

    async def _bury(self, worker_id: str, why: str) -> None:
        async with self._pool.connection() as connection:
            await bury(connection, worker_id)
        self._gone.add(worker_id)
        log.warning("worker gone", worker_id=worker_id, why=why)

    async def _know_gone(self) -> None:
        async with self._pool.connection() as connection:
            cursor = await connection.execute("SELECT worker_id, phase FROM workers")
            rows = await cursor.fetchall()
        self._gone = {worker_id for worker_id, phase in rows if phase == "gone"}
        self._registered = {worker_id: phase for worker_id, phase in rows if phase != "gone"}

    async def _retire(self, worker_id: str) -> None:
        command = new_event(AssignmentRetire(worker_id), source=SOURCE, subject=worker_id)
        with contextlib.suppress(UnknownOutcome):  # its next state record, a second later, has us try again
            await self._producer.send(ASSIGNMENTS, command)


async def register(connection: Connection, state: WorkerState) -> str:
    """Make the worker's row and slots, or bring its phase up to date; returns the phase that now holds."""
    async with connection.transaction():
        cursor = await connection.execute(
            """
            INSERT INTO workers (worker_id, partition, public_key, qualities, phase) VALUES (%s, %s, %s, %s, %s)
            ON CONFLICT (worker_id) DO UPDATE
                SET phase = CASE WHEN workers.phase = 'gone' THEN 'gone' ELSE excluded.phase END
            RETURNING phase
            """,
            [state.worker_id, state.partition, state.public_key, state.qualities, state.phase],
        )
        row = await cursor.fetchone()
        assert row is not None
        phase = str(row[0])
        if phase == "ready":
            await connection.execute(
                """
                INSERT INTO slots (worker_id, slot, qualities) SELECT %s, n, %s FROM generate_series(0, %s - 1) n
                ON CONFLICT (worker_id, slot) DO NOTHING
                """,
                [state.worker_id, state.qualities, state.slots],
            )
            await connection.execute("SELECT pg_notify('slot_free', '')")
        else:
            await connection.execute("UPDATE slots SET open = false WHERE worker_id = %s AND open", [state.worker_id])
    return phase


async def bury(connection: Connection, worker_id: str) -> None:
    """The worker is gone for ever: none of its slots is given out again."""
    async with connection.transaction():
        await connection.execute(
            "UPDATE workers SET phase = 'gone', gone_at = now() WHERE worker_id = %s AND phase <> 'gone'", [worker_id]
        )
        await connection.execute("DELETE FROM slots WHERE worker_id = %s AND session_id IS NULL", [worker_id])
        await connection.execute("UPDATE slots SET open = false WHERE worker_id = %s AND open", [worker_id])


async def move_slot(connection: Connection, session_id: str, quality: str) -> tuple[str, str] | None:
    """Give the session a slot of another worker; returns (worker id, public key), or None when there is none free."""
    async with connection.transaction():
        cursor = await connection.execute(
            """
            SELECT s.worker_id, s.slot, w.public_key FROM slots s JOIN workers w USING (worker_id)
            WHERE s.session_id IS NULL AND s.open AND %(quality)s = ANY (s.qualities)
              AND s.worker_id <> coalesce((SELECT a.worker_id FROM admissions a WHERE a.session_id = %(session)s), '')
            ORDER BY s.slot, s.worker_id LIMIT 1 FOR UPDATE OF s SKIP LOCKED
            """,
            {"quality": quality, "session": session_id},
        )
        row = await cursor.fetchone()
        if row is None:
            return None
        worker_id, slot, public_key = row
        await connection.execute("UPDATE slots SET session_id = NULL WHERE session_id = %s", [session_id])
        await connection.execute(
            "UPDATE slots SET session_id = %s WHERE worker_id = %s AND slot = %s", [session_id, worker_id, slot]
        )
        await connection.execute("UPDATE admissions SET worker_id = %s WHERE session_id = %s", [worker_id, session_id])
        return worker_id, public_key
