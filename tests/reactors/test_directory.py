"""The roster's view of the workers, on real servers: paused, it buries nobody who lives."""

from __future__ import annotations

import os
import signal
import time

import pytest

from tests.world import World, eventually

pytestmark = pytest.mark.servers

STALL_S = 13.0
"""Longer than a worker may be silent."""


async def test_a_stall_of_the_roster_buries_nobody(world: World) -> None:
    """Before, half of a fleet was buried: whoever's record was not in the one fetch that was buffered."""
    await world.start("roster")
    fleet = [await world.fake_worker(1) for _ in range(24)]
    began = time.monotonic()

    async def judging() -> bool:
        return time.monotonic() - began > STALL_S  # long enough at the log's end to declare somebody lost

    await eventually(judging)
    roster = world.processes["roster"].pid
    os.kill(roster, signal.SIGSTOP)
    stopped = time.monotonic()

    async def stalled() -> bool:
        return time.monotonic() - stopped > STALL_S

    await eventually(stalled)
    os.kill(roster, signal.SIGCONT)
    await world.fake_worker(1)  # registered: the roster has read on to the end, and judged
    gone = await world.sql("SELECT worker_id FROM workers WHERE phase = 'gone'")
    assert {row[0] for row in gone} & set(fleet) == set()


async def test_who_is_really_silent_is_buried(world: World) -> None:
    """The check above can fail."""
    silent = await world.fake_worker(1)
    world.silence(silent)

    async def buried() -> bool:
        return bool(await world.sql("SELECT 1 FROM workers WHERE worker_id = %s AND phase = 'gone'", silent))

    await eventually(buried)
