"""Tasks that nobody awaits."""

from __future__ import annotations

import asyncio

import pytest
from structlog.testing import capture_logs

from schemas.background import Background, until_one_ends

pytestmark = pytest.mark.unit


async def test_a_failure_is_told_and_nothing_is_kept() -> None:
    async def fails() -> None:
        raise ValueError("no")

    tasks = Background()
    with capture_logs() as logs:
        await asyncio.wait([tasks.spawn(fails(), "the failing one")])
        await asyncio.sleep(0)
    assert [(entry["task"], str(entry["exc_info"])) for entry in logs] == [("the failing one", "no")]
    assert len(tasks) == 0


async def test_a_cancelled_task_is_no_failure() -> None:
    tasks = Background()
    tasks.spawn(asyncio.sleep(60), "sleeps")
    with capture_logs() as logs:
        await tasks.cancel()
    assert logs == []
    assert len(tasks) == 0


async def test_until_one_ends_the_others_are_ended_and_its_failure_is_told() -> None:
    ended: list[str] = []

    async def waits() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            await asyncio.sleep(0)
            ended.append("waits")

    async def fails() -> None:
        raise ValueError("broke")

    with pytest.raises(ValueError, match="broke"):
        await until_one_ends(waits(), fails())
    await until_one_ends(waits(), asyncio.sleep(0))
    cancelled = asyncio.create_task(until_one_ends(waits()))
    for _ in range(3):  # its work has begun
        await asyncio.sleep(0)
    cancelled.cancel()
    await asyncio.gather(cancelled, return_exceptions=True)
    assert ended == ["waits"] * 3
