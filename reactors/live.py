"""`greenroom live`: what may be watched while it happens. Nothing that bills or decides depends on it."""

from __future__ import annotations

import asyncio
import gc
from collections.abc import Sequence
from contextlib import AsyncExitStack

import structlog
from prometheus_client import CollectorRegistry

from events import metrics as events_metrics
from events.offsets import Offsets, extents, offsets_at
from events.producer import EventProducer
from events.topics import SESSIONS, WORKERS
from projections import checkpoints, live, names, states
from projections import metrics as projections_metrics
from projections.handling import FoldingHandler
from projections.live import FOLD, LiveProjection
from reactors import live_workers
from reactors.counting import count
from reactors.live_publishing import Publisher
from reactors.live_workers import WorkersSeen
from reactors.processes import until_stopped
from reactors.settings import LiveSettings
from schemas.internal_port import opened
from schemas.live import LATENESS_MS
from schemas.times import now_ms
from store import database
from store import metrics as store_metrics
from store.database import DatabaseUnreachable, Pool, pool

log = structlog.get_logger()

TOLD: Sequence[CollectorRegistry] = (projections_metrics.REGISTRY, events_metrics.REGISTRY, store_metrics.REGISTRY)
"""What its /metrics says."""
_CONNECTIONS = 4
_PRUNE_EVERY_S = 60.0
_LOOKS = 3
_HOUR_MS = 3_600_000


async def serve(settings: LiveSettings) -> None:
    """Until SIGTERM, or until anything fails: the next process goes on from what was stored."""
    from reactors.live_reading import LOOK_S, Reader  # here: importing faust takes a second

    gc.set_threshold(50_000, 20, 100)
    async with AsyncExitStack() as stack:
        connections = await stack.enter_async_context(pool(settings.database_url, _CONNECTIONS))
        producer = await stack.enter_async_context(EventProducer(settings))
        workers_from = await begin(settings, connections)
        projection, seen = LiveProjection(settings.live_accounts), WorkersSeen()
        projection.heard_every_s = LOOK_S
        reader = Reader(settings, FoldingHandler(connections, FOLD, [projection], log=settings), seen, workers_from)
        publisher = Publisher(connections, producer, projection, seen)
        work = [reader.run(), publisher.run(), _keep_pruning(connections, settings), count(connections, [names.LIVE])]

        async def ready() -> Sequence[str]:
            behind = projection.progress.missing
            return [*([behind] if behind else ()), *await database.missing(connections)]

        async with opened("live", settings.metrics_host, settings.live_metrics_port, ready, TOLD):
            await until_stopped(work)


async def begin(settings: LiveSettings, connections: Pool) -> Offsets:
    """Put checkpoints where there are none, or none that are recent: as far back as windows are kept, and an hour more,
    which a session lasts at the most. A log other than that of before, rewound or made again, is counted from there,
    too, and what was counted of the other one is forgotten. Returns where to read `workers.v1`: those states that still
    say anything.

    If the process dies in here, the next one does it all again.
    """
    now = now_ms()
    at, lost = await _lost(settings, connections)
    since = await offsets_at(settings, SESSIONS, now - round((settings.keep_live_hours + 1) * _HOUR_MS))
    async with connections.connection() as connection, connection.transaction():
        still = await checkpoints.positions(connection, names.LIVE, SESSIONS.name)
        if any(still.get(partition) == at[partition] for partition in lost):  # nobody else has begun anew meanwhile
            log.warning("the log is another one than before; live windows begin anew", partitions=sorted(lost))
            await live.begin_anew(connection, since)
        else:
            await checkpoints.place(connection, names.LIVE, SESSIONS.name, since)
    return await offsets_at(settings, WORKERS, now - LATENESS_MS)


async def _lost(settings: LiveSettings, connections: Pool) -> tuple[Offsets, set[int]]:
    """(where live windows stand, the partitions that do not reach there). Looked at more than once: a leader that has
    just come up may not know its end yet."""
    for _ in range(_LOOKS):
        async with connections.connection() as connection:
            at = await checkpoints.positions(connection, names.LIVE, SESSIONS.name)
        begins, ends = await extents(settings, SESSIONS)  # after the positions: another process may be reading on
        lost = {partition for partition, place in at.items() if not begins[partition] <= place <= ends[partition]}
        if not lost:
            break
        await asyncio.sleep(1)
    return at, lost


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
