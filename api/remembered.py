"""What costs something to find, and is found at most once a second, however many ask."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import Generic, TypeVar

T = TypeVar("T")

KEPT_S = 1.0


class Remembered(Generic[T]):
    def __init__(self) -> None:
        self._lock = asyncio.Lock()
        self._found: tuple[float, T] | None = None

    async def get(self, find: Callable[[], Awaitable[T]]) -> T:
        """What was found within KEPT_S, or is found now. One looks at a time, and the others wait for it."""
        async with self._lock:
            if self._found is None or self._found[0] < time.monotonic():
                found = await find()
                self._found = (time.monotonic() + KEPT_S, found)
            return self._found[1]
