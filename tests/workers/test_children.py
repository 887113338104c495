"""The pool of warm session processes."""

from __future__ import annotations

import asyncio

import pytest

from tests.workers.rogue import never, rogues
from workers import children
from workers.children import Child, PoolClosed, WarmPool

pytestmark = pytest.mark.processes


async def test_a_pool_that_is_closed_while_somebody_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(children, "_session", never)
    pool = WarmPool(1)
    waiting = asyncio.create_task(pool.take())
    await asyncio.sleep(0)
    await pool.close()
    with pytest.raises(PoolClosed):
        await asyncio.wait_for(waiting, 10)
    pool.refill()
    assert len(pool._spawning) == 0


async def test_a_spawn_that_fails_in_any_way_is_tried_again(monkeypatch: pytest.MonkeyPatch) -> None:
    failures: list[Exception] = [OSError(24, "Too many open files"), RuntimeError("anything")]
    rogues(monkeypatch, "silent")
    spawn = children._session

    async def flaky() -> Child:
        if failures:
            raise failures.pop()
        return await spawn()

    monkeypatch.setattr(children, "_session", flaky)
    pool = WarmPool(1)
    child = await asyncio.wait_for(pool.take(), 60)
    assert child.running
    await child.ended()
    await pool.close()
