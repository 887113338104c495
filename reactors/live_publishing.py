"""What live windows have come to, told in `live.v1`: the last record of a key is what stands.

At least once, and each time as it is read from the rows then. If the process dies before it has told of something, the
next one does, since each begins with all windows that are still open; and every window is told once more when it
closes, so two processes that tell of the same one in the wrong order leave the right one behind.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Sequence
from typing import NamedTuple, TypeVar

import structlog

from events.codec import Event, new_event
from events.producer import EventProducer, UnknownOutcome
from events.topics import LIVE
from projections.live import LiveProjection
from projections.windows import keys_since, minute_start, minutes_of, window, workers
from reactors.live_workers import WorkersSeen
from schemas.events import LiveWindow, LiveWorkers
from schemas.live import DIMENSIONS, HOPPING_MINUTES, LATENESS_MS, MINUTES, WINDOW_MS, Dimension, WindowName
from schemas.times import now_ms, to_wire
from store.database import Connection, DatabaseUnreachable, Pool

log = structlog.get_logger()

T = TypeVar("T")

EVERY_S = 2.0
SETTLED_MS = 10_000
"""After a minute has begun, its predecessors are told once more: what was read meanwhile is in them by then."""
_SOURCE = "greenroom/live"
_AT_ONCE = 500
"""Windows: after a backlog there are a hundred thousand, and the process has other work."""


class Due(NamedTuple):
    """A window that is to be told. `last_ms`: the beginning of its last minute."""

    name: WindowName
    last_ms: int
    dimension: Dimension
    key: str


def due(changed: Iterable[tuple[int, Dimension, str]], now: int) -> set[Due]:
    """Every window of these (minute, dimension, key) that has begun with its last minute."""
    return {
        Due(name, last_ms, dimension, key)
        for minute_ms, dimension, key in changed
        for name, count in MINUTES.items()
        for last_ms in range(minute_ms, minute_ms + count * WINDOW_MS, WINDOW_MS)
        if last_ms <= minute_start(now)
    }


class Publisher:
    def __init__(self, pool: Pool, producer: EventProducer, projection: LiveProjection, seen: WorkersSeen) -> None:
        self._pool = pool
        self._producer = producer
        self._projection = projection
        self._seen = seen
        self._settled_ms = 0
        """The minute in which its predecessors were told last."""

    async def run(self) -> None:
        """Until cancelled. An outage is waited for."""
        while True:
            changed, self._projection.changed = self._projection.changed, set()
            try:
                await self._publish(changed)
            except (DatabaseUnreachable, UnknownOutcome) as failed:
                self._projection.changed |= changed
                log.warning("live windows not told yet", reason=str(failed))
            await asyncio.sleep(EVERY_S)

    async def _publish(self, changed: set[tuple[int, Dimension, str]]) -> None:
        now = now_ms()
        settling = minute_start(now - SETTLED_MS) > self._settled_ms
        if settling:
            oldest = minute_start(now) - LATENESS_MS - HOPPING_MINUTES * WINDOW_MS
            async with self._pool.connection() as connection:
                changed = changed | await keys_since(connection, oldest)
        wanted = sorted(due(changed, now))
        for begin in range(0, len(wanted), _AT_ONCE):
            await self._tell(_windows, wanted[begin : begin + _AT_ONCE])
        await self._tell(_workers, sorted(await self._seen.store(self._pool)))
        if settling:
            self._settled_ms = minute_start(now - SETTLED_MS)

    async def _tell(
        self, read: Callable[[Connection, Sequence[T]], Awaitable[list[Event]]], wanted: Sequence[T]
    ) -> None:
        async with self._pool.connection() as connection:
            events = await read(connection, wanted)
        await asyncio.gather(*(self._producer.send(LIVE, event) for event in events))


async def _windows(connection: Connection, wanted: Sequence[Due]) -> list[Event]:
    events: list[Event] = []
    for dimension in DIMENSIONS:
        of_it = [each for each in wanted if each.dimension == dimension]
        if not of_it:
            continue
        first, last = min(each.last_ms for each in of_it), max(each.last_ms for each in of_it)
        minutes = await minutes_of(
            connection,
            dimension,
            sorted({each.key for each in of_it}),
            first - (HOPPING_MINUTES - 1) * WINDOW_MS,
            last + WINDOW_MS,
        )
        for each in of_it:
            count = MINUTES[each.name]
            counted = window(minutes.get(each.key, {}), each.last_ms - (count - 1) * WINDOW_MS, count)
            data = LiveWindow(each.name, dimension, each.key, counted)
            subject = f"{each.name}/{to_wire(counted.from_ms)}/{dimension}/{each.key}"
            events.append(new_event(data, source=_SOURCE, subject=subject))
    return events


async def _workers(connection: Connection, minutes: Sequence[int]) -> list[Event]:
    events: list[Event] = []
    for minute_ms in minutes:
        found = await workers(connection, minute_ms)
        data = LiveWorkers(minute_ms, found.phases, found.slots, found.held)
        events.append(new_event(data, source=_SOURCE, subject=f"workers/{to_wire(minute_ms)}"))
    return events
