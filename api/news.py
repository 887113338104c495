"""Who waits for news of what: streams and long polls, woken by what other processes notify."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager

from api.errors import StreamsExceeded

_FEW = 4


class Waiter:
    """Woken whenever there may be news of one of its subjects."""

    def __init__(self) -> None:
        self._event = asyncio.Event()
        self._fired: set[str] = set()

    def wake(self, subject: str) -> None:
        self._fired.add(subject)
        self._event.set()

    async def wait(self, within_s: float) -> set[str]:
        """The subjects that may have news, none after `within_s`. What comes from now on wakes the next wait."""
        try:
            async with asyncio.timeout(within_s):
                await self._event.wait()
        except TimeoutError:
            return set()
        self._event.clear()
        fired, self._fired = self._fired, set()
        return fired


class News:
    """Subjects are ids: sessions, accounts, keys. Nothing is carried: whoever is woken looks for what is new."""

    def __init__(self, connections: int) -> None:
        """`connections`: what the process has for everybody. Streams and long polls take three quarters of them at the
        most, those of one account a third; an eighth more is for accounts that have next to none."""
        self._most, self._most_of_account = connections * 3 // 4, connections // 3
        self._most_with_few = connections * 7 // 8
        self._waiting: dict[str, set[Waiter]] = {}
        self._of_account: dict[str, int] = {}
        self.over = False
        """The process stops: whoever is woken goes."""

    @property
    def open(self) -> int:
        """Streams and long polls of all accounts."""
        return sum(self._of_account.values())

    @contextmanager
    def of(self, account_id: str, *subjects: str) -> Iterator[Waiter]:
        """Look after this, and after every wait: nothing that happens in between is missed. Raises StreamsExceeded."""
        held = self._of_account.get(account_id, 0)
        if held >= self._most_of_account or self.open >= (self._most_with_few if held < _FEW else self._most):
            raise StreamsExceeded
        self._of_account[account_id] = held + 1
        waiter = Waiter()
        for subject in subjects:
            self._waiting.setdefault(subject, set()).add(waiter)
        try:
            yield waiter
        finally:
            for subject in subjects:
                self._waiting[subject].discard(waiter)
                if not self._waiting[subject]:
                    del self._waiting[subject]
            self._of_account[account_id] -= 1
            if not self._of_account[account_id]:
                del self._of_account[account_id]

    def tell(self, subjects: str) -> None:
        """`subjects`: a line each. None: the connection was made anew, and anything may have been missed."""
        for subject in subjects.split("\n") if subjects else list(self._waiting):
            for waiter in self._waiting.get(subject, ()):
                waiter.wake(subject)

    def end(self) -> None:
        self.over = True
        self.tell("")
