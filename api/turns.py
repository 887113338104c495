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
_SHARE = 4
"""An account waits with a quarter of the places at the most."""


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
        self._of_account: Counter[str] = Counter()

    @property
    def waiting(self) -> int:
        return self._of_account.total()

    def tell(self, _: str = "") -> None:
        """A slot has become free."""
        self._told = True
        self._news.set()

    async def take(self, account_id: str, quality: str, within_s: float) -> bool:
        """Wait until it is the caller's turn to ask for a slot; False when it does not come, or too many wait.

        Raises what `look` raises.
        """
        if self.waiting >= self._most or self._of_account[account_id] >= max(1, self._most // _SHARE):
            return False
        self._of_account[account_id] += 1
        try:
            async with asyncio.timeout(within_s):
                while not await self._turn(quality):
                    await self._until_news()
        except TimeoutError:
            return False
        finally:
            self._of_account[account_id] -= 1
            self._of_account += Counter()  # those who wait no more are forgotten
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
