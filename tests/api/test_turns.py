"""Whose turn it is to ask for a slot."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping

import pytest

from api.turns import Turns

pytestmark = pytest.mark.unit


class Slots:
    """Looks that are counted."""

    def __init__(self, **free: int) -> None:
        self.free: dict[str, int] = free
        self.looks = 0

    async def look(self) -> Mapping[str, int]:
        self.looks += 1
        await asyncio.sleep(0)
        return dict(self.free)


async def test_as_many_as_slots_are_free_and_one_look_for_all() -> None:
    slots = Slots(mock=3, pro=1)
    turns = Turns(400, slots.look)
    took = await asyncio.gather(
        *(turns.take("acct_1", "mock", 0.05) for _ in range(50)), turns.take("acct_1", "pro", 0.05)
    )
    assert (sum(took), took[-1]) == (4, True)
    assert slots.looks == 1
    assert turns.waiting == 0


async def test_news_of_a_slot_wake_and_are_looked_at() -> None:
    slots = Slots()
    turns = Turns(400, slots.look)
    waiting = [asyncio.create_task(turns.take("acct_1", "mock", 5)) for _ in range(20)]
    await asyncio.sleep(0.01)
    assert slots.looks == 1
    slots.free = {"mock": 1}
    turns.tell()
    done, _ = await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
    assert [task.result() for task in done] == [True]
    slots.free = {}
    for task in waiting:
        task.cancel()
    await asyncio.gather(*waiting, return_exceptions=True)
    assert turns.waiting == 0


async def test_a_slot_that_nobody_tells_of_is_found() -> None:
    slots = Slots()
    turns = Turns(400, slots.look)
    waiting = asyncio.create_task(turns.take("acct_1", "mock", 5))
    await asyncio.sleep(0.01)
    slots.free = {"mock": 1}
    assert await waiting


async def test_too_many_are_sent_away_at_once() -> None:
    turns = Turns(8, Slots().look)
    waiting = [asyncio.create_task(turns.take("acct_1", "mock", 0.2)) for _ in range(2)]
    await asyncio.sleep(0)
    assert not await turns.take("acct_1", "mock", 60)
    assert not await turns.take("acct_2", "mock", 0.01)  # it has waited: its share is its own
    assert await asyncio.gather(*waiting) == [False, False]


async def test_a_look_that_fails_is_the_callers_alone() -> None:
    async def fails() -> Mapping[str, int]:
        raise OSError("away")

    turns = Turns(2, fails)
    with pytest.raises(OSError, match="away"):
        await turns.take("acct_1", "mock", 1)
    assert turns.waiting == 0
