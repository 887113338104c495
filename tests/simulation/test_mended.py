"""What seeds have found in the product, each as a story of a few steps. Seeds 2050 and 2287 of their day."""

from __future__ import annotations

import asyncio

import pytest

from reactors.directory import Directory
from reactors.presence import PASS_S
from tests.simulation import patches
from tests.simulation.database import Pool, Worker
from tests.simulation.world import World

pytestmark = pytest.mark.unit

LOST = "wrk_lost"


def bury(registered: bool, slow_s: float) -> tuple[str | None, bool]:
    """The worker's phase in the database, and whether the roster takes it for gone.

    `slow_s`: how long the database lets a burial wait.
    """
    world = World(0, listens=False)
    if registered:
        world.database.tables.workers[LOST] = Worker(LOST, "key", "ready", 0.0)
    process = world.process("roster")

    async def wait(_: float) -> None:
        await asyncio.sleep(slow_s)

    pool = Pool(world.database, process, wait)
    directory = Directory(patches.project_settings(), pool, None, lambda: world.timeline.now)  # type: ignore[arg-type]
    with patches.simulated(world):
        directory._presence.passes(0.0)
        process.start(directory._bury(LOST, "lost"))
        world.timeline.run(60)
    assert process.crash is None
    worker = world.database.tables.workers.get(LOST)
    return (worker.phase if worker else None), LOST in directory._gone


def test_a_registered_worker_is_buried() -> None:
    """The checks below can fail."""
    assert bury(registered=True, slow_s=0.01) == ("gone", True)


def test_what_was_never_registered_is_not_gone_for_one_roster_alone() -> None:
    """Before, it was: until that roster lost the database for a moment, and let it in as if nothing had been."""
    assert bury(registered=False, slow_s=0.01) == (None, False)


def test_a_burial_that_waited_does_not_happen() -> None:
    """Before, who had come back meanwhile, and worked by a valid lease, was buried."""
    assert bury(registered=True, slow_s=PASS_S + 0.5) == ("ready", False)
