"""One session's events, into the log: in order, each until it is acknowledged, always the same event again."""

from __future__ import annotations

import asyncio

import structlog
from msgspec import Struct

from events.codec import Event, new_event
from events.producer import EventProducer, UnknownOutcome
from events.topics import SESSIONS
from schemas.assignments import Task
from workers.tracing import AttemptSpans

log = structlog.get_logger()


class EventAppender:
    """Appends the events of one attempt. A long outage delays it; nothing is skipped, so order is kept."""

    def __init__(self, producer: EventProducer, worker_id: str, task: Task, spans: AttemptSpans) -> None:
        self._producer = producer
        self._source = f"greenroom/worker/{worker_id}"
        self._task = task
        self.spans = spans
        self._queue: asyncio.Queue[Event | None] = asyncio.Queue()
        self.appending = asyncio.create_task(self._append_all(), name="append session events")
        """Done before `close` it has failed, and nothing of this attempt gets into the log any more."""

    def append(self, data: Struct) -> None:
        """Behind what was appended before. Returns at once."""
        self._queue.put_nowait(
            new_event(
                data,
                source=self._source,
                subject=self._task.session_id,
                account=self._task.account_id,
                correlation=self._task.request_id,
                traceparent=self.spans.traceparent,
            )
        )
        self.spans.said(data)

    async def close(self) -> None:
        """Wait until everything is in the log. Raises what appending failed with."""
        self._queue.put_nowait(None)
        await asyncio.wait([self.appending])
        self.spans.close()
        if not self.appending.cancelled():
            self.appending.result()

    def abort(self) -> None:
        """The lease is over: what is not in the log yet never will be."""
        self.appending.cancel()
        self.spans.close()

    async def _append_all(self) -> None:
        while (event := await self._queue.get()) is not None:
            while True:
                try:
                    await self._producer.send(SESSIONS, event)
                    break
                except UnknownOutcome:
                    log.warning("event not acknowledged, sent again", type=event.type, event_id=event.id)
