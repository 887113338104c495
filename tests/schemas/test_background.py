"""Tasks that nobody awaits."""

from __future__ import annotations

import asyncio

import pytest
from structlog.testing import capture_logs

from schemas.background import Background

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
