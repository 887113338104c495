"""The rate card that is in force, known before a create asks: none waits for it."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence

import structlog

from schemas.rates import RateCard
from store import rates
from store.database import DatabaseUnreachable, Pool
from store.rates import NOTICE_S, Published

log = structlog.get_logger()

_EVERY_S = NOTICE_S / 6
_STALE_S = NOTICE_S / 2
"""A card is published NOTICE_S before it takes effect: what was known so lately is all that can be in force."""


class Prices:
    """Cards are read in the background, long before they take effect: they begin on time in every process."""

    def __init__(self, pool: Pool, clock: Callable[[], float] = time.monotonic) -> None:
        self._pool = pool
        self._clock = clock
        self._cards: Sequence[Published] = ()
        self._looked_at: float | None = None
        self._lock = asyncio.Lock()

    async def in_force(self, at_ms: int) -> RateCard:
        """At this time, which is about now. Raises DatabaseUnreachable where the last look is too long ago."""
        if self._stale():
            async with self._lock:
                if self._stale():
                    await self._look()
        return rates.in_force(self._cards, at_ms)

    def _stale(self) -> bool:
        return self._looked_at is None or self._clock() - self._looked_at > _STALE_S

    async def _look(self) -> None:
        began = self._clock()
        async with self._pool.connection() as connection:
            self._cards = await rates.every(connection)
        self._looked_at = began

    async def keep_looking(self) -> None:
        """For ever. What a look cannot find out the next one does, or a create that needs it."""
        while True:
            try:
                await self._look()
            except DatabaseUnreachable as failed:
                log.warning("rate cards not looked at", error=str(failed))
            except Exception:  # it must go on: without it creates look for themselves, which they wait for
                log.exception("rate cards not looked at")
            await asyncio.sleep(_EVERY_S)
