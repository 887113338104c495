"""A roster that dies between reading a loss and the reassignment: whoever comes next decides it, once."""

from __future__ import annotations

import sys

import pytest
import pytest_asyncio

from cli.processes import environment
from events.topics import ASSIGNMENTS
from schemas.events import (
    AssignmentAssign,
    Meter,
    SessionAssigned,
    SessionAttemptLost,
    SessionEnded,
    SessionEnding,
    SessionFirstFrame,
    SessionJoined,
    SessionStarting,
)
from stack.process import Process, ProcessSpec
from tests.world import World, eventually

pytestmark = pytest.mark.servers


@pytest_asyncio.fixture(scope="module")
async def running(world: World) -> World:
    await world.start("api", "sessions", "roster")
    await world.fake_worker(1)
    return world


@pytest.mark.parametrize("when", ["before", "after"])
async def test_a_loss_is_reassigned_once_whenever_the_roster_dies(running: World, when: str) -> None:
    """Before: a slot is reserved, and nothing is in the log. After: the log knows, and no command has been sent."""
    async with running.client() as client:
        sid = (await running.create(client))["id"]
        ((worker,),) = await running.sql("SELECT worker_id FROM slots WHERE session_id = %s", sid)
        await running.append(
            SessionStarting(sid, 1, worker), SessionJoined(sid, 1, worker, {}), SessionFirstFrame(sid, 1, worker, {})
        )
        await running.until(client, sid, "running")
        await running.stop("roster")
        command = [sys.executable, "-m", "tests.reactors.dying", when]
        dying = Process(ProcessSpec("dying", command, environment("project", running.env)), running.folder)
        await dying.start()
        await running.append(SessionAttemptLost(sid, 1, worker, "process_crashed", None))
        assert await dying.wait() < 0
        assert ("session.assigned" in await running.kinds(sid)) is (when == "after")
        await running.restart("roster")

        async def told() -> list[int]:
            commands = [event.data for event, _ in await running.log(topic=ASSIGNMENTS)]
            return [c.attempt for c in commands if isinstance(c, AssignmentAssign) and c.session_id == sid]

        async def told_of_the_second() -> bool:
            return 2 in await told()

        await eventually(told_of_the_second)
        decided = [event.data for event, _ in await running.log(sid) if isinstance(event.data, SessionAssigned)]
        assert decided == [SessionAssigned(sid, 2, worker, "worker_lost", decided[0].expected_seq)]
        assert await running.sql("SELECT count(*) FROM slots WHERE session_id = %s", sid) == [(1,)]
        await running.append(
            SessionStarting(sid, 2, worker),
            SessionEnding(sid, 2, worker, "api_request"),
            SessionEnded(sid, 2, "api_request", worker, 1, Meter(0, 0, 0)),
        )
        await running.until(client, sid, "ended")
