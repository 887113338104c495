"""One account's creates leave connections to the others."""

from __future__ import annotations

import asyncio
from collections import Counter

import pytest

from api.errors import Overloaded
from api.lanes import Lanes

pytestmark = pytest.mark.unit


async def test_a_quarter_of_the_connections_at_once_and_all_of_them_in_the_end() -> None:
    lanes, inside, most = Lanes(16), Counter[str](), Counter[str]()

    async def create(account: str) -> None:
        async with lanes.one(account, 5):
            inside[account] += 1
            most[account] = max(most[account], inside[account])
            await asyncio.sleep(0.001)
            inside[account] -= 1

    await asyncio.gather(*(create(f"acct_{n % 2}") for n in range(60)))
    assert most == {"acct_0": 4, "acct_1": 4}
    assert len(lanes._of_account) == 0


async def test_who_waits_too_long_is_told_and_others_are_not_held_up() -> None:
    lanes = Lanes(1)
    async with lanes.one("acct_1", 5):
        with pytest.raises(Overloaded):
            async with lanes.one("acct_1", 0.01):
                pass
        async with lanes.one("acct_2", 0.01):
            pass
    async with lanes.one("acct_1", 0.01):
        pass


async def test_who_fails_or_leaves_makes_room() -> None:
    lanes = Lanes(1)
    with pytest.raises(ValueError, match="failed"):
        async with lanes.one("acct_1", 1):
            raise ValueError("failed")

    async def create() -> None:
        async with lanes.one("acct_1", 5):
            await asyncio.sleep(5)

    working, waiting = asyncio.create_task(create()), asyncio.create_task(create())
    await asyncio.sleep(0.01)
    waiting.cancel()
    working.cancel()
    await asyncio.wait([working, waiting])
    async with lanes.one("acct_1", 0.01):
        pass
