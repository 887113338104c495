"""`greenroom live`: what may be watched while it happens. Nothing that bills or decides depends on it."""

from __future__ import annotations

import asyncio
import gc
from contextlib import AsyncExitStack

import structlog

from events.offsets import Offsets, extents, offsets_at
from events.producer import EventProducer
from events.topics import SESSIONS, WORKERS
from projections import checkpoints, live, names, states
from projections.handling import FoldingHandler
from projections.live import FOLD, LiveProjection
from reactors import live_workers
from reactors.live_publishing import Publisher
from reactors.live_workers import WorkersSeen
from reactors.processes import until_stopped
from reactors.settings import LiveSettings
from schemas.live import LATENESS_MS
from schemas.times import now_ms
from store.database import DatabaseUnreachable, Pool, pool

log = structlog.get_logger()

_CONNECTIONS = 4
_PRUNE_EVERY_S = 60.0
_HOUR_MS = 3_600_000


async def serve(settings: LiveSettings) -> None:
    """Until SIGTERM, or until anything fails: the next process goes on from what was stored."""
    from reactors.live_reading import Reader  # here: importing faust takes a second

    gc.set_threshold(50_000, 20, 100)
    async with AsyncExitStack() as stack:
        connections = await stack.enter_async_context(pool(settings.database_url, _CONNECTIONS))
        producer = await stack.enter_async_context(EventProducer(settings))
        workers_from = await begin(settings, connections)
        projection, seen = LiveProjection(settings.live_accounts), WorkersSeen()
        reader = Reader(settings, FoldingHandler(connections, FOLD, [projection], log=settings), seen, workers_from)
        publisher = Publisher(connections, producer, projection, seen)
        await until_stopped([reader.run(), publisher.run(), _keep_pruning(connections, settings)])


async def begin(settings: LiveSettings, connections: Pool) -> Offsets:
    """Put checkpoints where there are none: as far back as windows are kept, and an hour more, which a session lasts at
    the most. A log other than that of before, rewound or made again, is counted from there, too, and what was counted
    of the other one is forgotten. Returns where to read `workers.v1`: those states that still say anything.

    If the process dies in here, the next one does it all again.
    """
    now = now_ms()
    begins, ends = await extents(settings, SESSIONS)
    since = await offsets_at(settings, SESSIONS, now - round((settings.keep_live_hours + 1) * _HOUR_MS))
    async with connections.connection() as connection, connection.transaction():
        at = await checkpoints.positions(connection, names.LIVE, SESSIONS.name)
        if lost := sorted(
            partition for partition, offset in at.items() if not begins[partition] <= offset <= ends[partition]
        ):
            log.warning("the log is another one than before; live windows begin anew", partitions=lost)
            await live.begin_anew(connection)
        await checkpoints.place(connection, names.LIVE, SESSIONS.name, since)
    return await offsets_at(settings, WORKERS, now - LATENESS_MS)


async def _keep_pruning(connections: Pool, settings: LiveSettings) -> None:
    older_s = settings.keep_live_hours * 3600
    while True:
        try:
            await live.prune(connections, older_s)
            await live_workers.prune(connections, older_s)
            await states.prune(connections, (names.LIVE,), older_s)
        except DatabaseUnreachable as failed:
            log.warning("live windows not pruned", reason=str(failed))
        await asyncio.sleep(_PRUNE_EVERY_S)
