"""How many creates of one account are in the database at once.

There they go one after the other anyhow, under the account's lock, and each that waits for it there holds a connection.
With two hundred clients of one account that asked for what was not free, another account got a third of the creates
through that it gets when they wait here, in order and for a bounded time.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from weakref import WeakValueDictionary

from api.errors import Overloaded

_SHARE = 4
"""An account has a quarter of the connections at the most."""


class Lanes:
    """Of one process, which has `connections` to the database."""

    def __init__(self, connections: int) -> None:
        self._width = max(1, connections // _SHARE)
        self._of_account: WeakValueDictionary[str, asyncio.Semaphore] = WeakValueDictionary()
        """Of those that have a create under way: whoever waits or works keeps it alive."""

    @asynccontextmanager
    async def one(self, account_id: str, within_s: float) -> AsyncIterator[None]:
        """Raises Overloaded."""
        lane = self._of_account.setdefault(account_id, asyncio.Semaphore(self._width))
        if lane.locked():
            try:
                async with asyncio.timeout(within_s):
                    await lane.acquire()
            except TimeoutError as full:
                raise Overloaded from full
        else:
            await lane.acquire()  # at once, as it does not stop on its way
        try:
            yield
        finally:
            lane.release()
