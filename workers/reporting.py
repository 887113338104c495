"""One session's events: in order, each until it is acknowledged, always the same event again."""

from __future__ import annotations

import asyncio

import structlog
from msgspec import Struct

from events.codec import Event, new_event
from events.producer import EventProducer, UnknownOutcome
from events.topics import SESSIONS
from schemas.assignments import Task
from schemas.events import EndReason, FailureCode, Meter, SessionEnded, SessionFailed, SessionHeartbeat, WorkerEvent

log = structlog.get_logger()


class Reporter:
    """Appends what one attempt has to say. A long outage delays it; nothing is skipped, so order is kept."""

    def __init__(self, producer: EventProducer, worker_id: str, task: Task, attempt: int) -> None:
        self._producer = producer
        self._worker_id = worker_id
        self._task = task
        self._attempt = attempt
        self._n = 0
        self._queue: asyncio.Queue[Event | None] = asyncio.Queue()
        self.appending = asyncio.create_task(self._append_all(), name="append session events")
        """Done before `close` it has failed, and nothing of this attempt gets into the log any more."""

    def say(self, kind: type[WorkerEvent], **fields: object) -> None:
        self._put(kind(session_id=self._task.session_id, attempt=self._attempt, worker_id=self._worker_id, **fields))

    def heartbeat(self, **fields: object) -> None:
        self._n += 1
        self.say(SessionHeartbeat, n=self._n, skew_ms=None, **fields)

    def ended(self, reason: EndReason, meter: Meter) -> None:
        self._n += 1
        sid = self._task.session_id
        self._put(SessionEnded(sid, self._attempt, reason, worker_id=self._worker_id, n=self._n, meter=meter))

    def failed(self, code: FailureCode, message: str, meter: Meter) -> None:
        self._n += 1
        sid = self._task.session_id
        self._put(SessionFailed(sid, self._attempt, code, message, worker_id=self._worker_id, n=self._n, meter=meter))

    async def close(self) -> None:
        """Wait until everything said is in the log. Raises what appending failed with."""
        self._queue.put_nowait(None)
        await asyncio.wait([self.appending])
        if not self.appending.cancelled():
            self.appending.result()

    def abort(self) -> None:
        """The lease is over: what is not in the log yet never will be."""
        self.appending.cancel()

    def _put(self, data: Struct) -> None:
        self._queue.put_nowait(
            new_event(
                data,
                source=f"greenroom/worker/{self._worker_id}",
                subject=self._task.session_id,
                account=self._task.account_id,
                correlation=self._task.request_id,
            )
        )

    async def _append_all(self) -> None:
        while (event := await self._queue.get()) is not None:
            while True:
                try:
                    await self._producer.send(SESSIONS, event)
                    break
                except UnknownOutcome:
                    log.warning("event not acknowledged, sent again", type=event.type, event_id=event.id)
