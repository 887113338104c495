"""What only the database knows, counted now and then for the metrics, beside all work. Nothing depends on it."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Sequence

from projections import metrics as projections_metrics
from projections import names, parked
from reactors import roster_metrics
from store import slots
from store.database import DatabaseUnreachable, Pool

EVERY_S = 15.0


async def count(pool: Pool, consumers: Sequence[str]) -> None:
    """For ever. While the database is away the figures stay as they were."""
    while True:
        with contextlib.suppress(DatabaseUnreachable):
            await _count(pool, consumers)
        await asyncio.sleep(EVERY_S)


async def _count(pool: Pool, consumers: Sequence[str]) -> None:
    async with pool.connection() as connection:
        for consumer in consumers:
            projections_metrics.PARKED.labels(consumer).set(await parked.count(connection, consumer))
        if names.ROSTER in consumers:
            total = await slots.total(connection)
            roster_metrics.SLOTS.set(total.slots)
            roster_metrics.SLOTS_USED.set(total.slots - total.free)
