"""Creates that wait for a slot: as many ask again as slots are free, and one look finds that out for all of them.

Each asking by itself, some hundred waiters would keep the database busy with refusals, and everybody else waiting.
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping

LOOK_EVERY_S = 0.1
"""Without a notification: one may be lost."""


class Turns:
    """Of one process. `look`: quality → slots of it that are free right now."""

    def __init__(self, most: int, look: Callable[[], Awaitable[Mapping[str, int]]]) -> None:
        self._most = most
        self._look = look
        self._lock = asyncio.Lock()
        self._news = asyncio.Event()
        self._looked_at = 0.0
        self._told = False
        self._free: Counter[str] = Counter()
        self.waiting = 0

    def tell(self, _: str = "") -> None:
        """A slot has become free."""
        self._told = True
        self._news.set()

    async def take(self, quality: str, within_s: float) -> bool:
        """Wait until it is the caller's turn to ask for a slot; False when it does not come, or too many wait.

        Raises what `look` raises.
        """
        if self.waiting >= self._most:
            return False
        self.waiting += 1
        try:
            async with asyncio.timeout(within_s):
                while not await self._turn(quality):
                    await self._until_news()
        except TimeoutError:
            return False
        finally:
            self.waiting -= 1
        return True

    async def _turn(self, quality: str) -> bool:
        async with self._lock:
            if not self._free[quality] and (self._told or time.monotonic() - self._looked_at >= LOOK_EVERY_S):
                self._told = False
                self._news.clear()
                self._free = Counter(await self._look())
                self._looked_at = time.monotonic()
            if not self._free[quality]:
                return False
            self._free[quality] -= 1
            return True

    async def _until_news(self) -> None:
        try:
            async with asyncio.timeout(LOOK_EVERY_S):
                await self._news.wait()
        except TimeoutError:
            return
