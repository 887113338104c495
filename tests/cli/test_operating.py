"""`greenroom sessions` and `greenroom workers` as an operator types them."""

from __future__ import annotations

import asyncio
import signal
import sys

import pytest
import pytest_asyncio

from cli.processes import environment
from tests.builders import life, session_id
from tests.cli.test_admin import SMALL, done, greenroom
from tests.world import World, eventually

pytestmark = pytest.mark.servers


@pytest_asyncio.fixture(scope="module")
async def running(world: World) -> World:
    await world.start("api", "all", "worker")
    return world


async def test_a_session_is_listed_shown_followed_and_ended(running: World) -> None:
    async with running.client() as client:
        sid = (await running.create(client, quality="mock", idle_timeout_seconds=300))["id"]
        await eventually(lambda: listed(running, sid))
        assert running.account in await done(running, "sessions", "list")
        code, narrow, more = await greenroom(running, "sessions", "list", terminal=SMALL)
        (line,) = (line for line in narrow.splitlines() if sid in line)  # in one piece
        assert (code, len(line) <= 80, running.account in narrow, "worker" in more) == (0, True, False, True)
        assert "status: " in await done(running, "sessions", "show", sid)
        command = [sys.executable, "-m", "cli.main", "sessions", "tail", sid]
        following = await asyncio.create_subprocess_exec(
            *command, env=environment("api", running.env), stdout=asyncio.subprocess.PIPE
        )
        assert following.stdout is not None
        first = await asyncio.wait_for(following.stdout.readline(), 60)
        assert f"{sid}  session.created  attempt=1" in first.decode()
        assert f"{sid}: " in await done(running, "sessions", "end", sid)
        rest = await asyncio.wait_for(following.stdout.read(), 60)  # it ends with its session
        assert "session.end_requested  reason=api_request" in rest.decode()
    assert await asyncio.wait_for(following.wait(), 60) == 0
    assert not await listed(running, sid)
    assert sid in await done(running, "sessions", "list", "--all")
    code, _, complained = await greenroom(running, "sessions", "end", sid)
    assert (code, "is over already" in complained) == (1, True)
    assert (await greenroom(running, "sessions", "show", "sess_none"))[0] == 1


async def listed(world: World, sid: str) -> bool:
    return sid in await done(world, "sessions", "list")


async def test_all_is_followed_until_somebody_has_seen_enough(world: World) -> None:
    command = [sys.executable, "-m", "cli.main", "sessions", "tail"]
    following = await asyncio.create_subprocess_exec(
        *command, env=environment("api", world.env), stdout=asyncio.subprocess.PIPE
    )
    assert following.stdout is not None
    reading = asyncio.create_task(following.stdout.readline())

    async def heard() -> bool:
        """It begins where the log ends when it looks: until then nothing is heard."""
        await world.append(*life(session_id()))
        return reading.done()

    await eventually(heard)
    assert "session." in (await reading).decode()
    following.send_signal(signal.SIGINT)
    assert await asyncio.wait_for(following.wait(), 60) == 0


async def test_a_drained_worker_plays_to_the_end_and_goes(running: World) -> None:
    ((worker,),) = await running.sql("SELECT worker_id FROM workers WHERE phase = 'ready'")
    said = await done(running, "workers", "list")
    assert worker in said
    assert " s ago" in said
    assert "holds: no session" in await done(running, "workers", "show", worker)
    async with running.client() as client:
        sid = (await running.create(client, quality="mock", idle_timeout_seconds=300))["id"]
        await running.until(client, sid, "running")
        await done(running, "workers", "drain", worker, "--no-wait")

        async def draining() -> bool:
            return "draining" in await done(running, "workers", "show", worker)

        await eventually(draining)
        assert f"{sid} (attempt 1)" in await done(running, "workers", "show", worker)
        waiting = await asyncio.create_subprocess_exec(
            *[sys.executable, "-m", "cli.main", "workers", "drain", worker],
            env=environment("api", running.env),
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        assert waiting.stderr is not None
        told = await asyncio.wait_for(waiting.stderr.readline(), 60)  # it has found the worker while it was there
        assert f"{worker} takes nothing new; its 1 sessions move" in told.decode()
        assert (await running.status(client, sid))["status"] == "running"
        await done(running, "sessions", "end", sid)
        finished, _ = await asyncio.wait_for(waiting.communicate(), 60)
    assert (waiting.returncode, finished.decode().strip()) == (0, f"{worker} is gone.")
    assert await asyncio.wait_for(running.processes["worker"].wait(), 60) == 0
    code, _, complained = await greenroom(running, "workers", "drain", worker)
    assert (code, "gone already" in complained) == (1, True)
    assert (await greenroom(running, "workers", "show", "wrk_none"))[0] == 1
