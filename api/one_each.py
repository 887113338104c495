"""Work that takes long, of few at once, and of an account one at a time: whose turn it is."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from weakref import WeakValueDictionary

from api.errors import ApiError


class OneEach:
    """Accounts wait in one queue with one request each, whatever else they have sent."""

    def __init__(self, at_once: int, wait_s: float, busy: ApiError) -> None:
        """`busy`: what is raised when no turn comes within `wait_s`."""
        self._free = asyncio.Semaphore(at_once)
        self._accounts: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()
        self._wait_s = wait_s
        self._busy = type(busy), busy.message

    def busy(self) -> ApiError:
        """A new one each time: an exception keeps where it was raised."""
        kind, message = self._busy
        return kind(message)

    @asynccontextmanager
    async def turn(self, account_id: str) -> AsyncIterator[None]:
        own = self._accounts.setdefault(account_id, asyncio.Lock())
        async with AsyncExitStack() as held:
            try:
                async with asyncio.timeout(self._wait_s):
                    await held.enter_async_context(own)
                    await held.enter_async_context(self._free)
            except TimeoutError:
                raise self.busy() from None
            yield
