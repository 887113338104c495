"""Background work that others rely on: when it fails, they do not go on as if it ran."""

from __future__ import annotations

import asyncio
import os
import secrets
import signal
import socket
import sys
from pathlib import Path
from urllib.parse import urlsplit

import psutil
import pytest

from cli.customer import AVATAR, LiveKitProject
from cli.processes import environment
from schemas.assignments import Task
from schemas.events import SessionFailed, SessionFirstFrame
from schemas.times import now_ms
from stack.process import Process, ProcessSpec
from stack.servers import Servers
from tests.builders import session_id
from tests.workers import documented
from tests.world import World, eventually
from workers.attempts import read
from workers.lease import boottime
from workers.messages import AttemptEvent, AttemptLimits, FromSession, Said, Start, ToSession
from workers.pipe import Pipe
from workers.session import Session

pytestmark = pytest.mark.media

WORKER = """
import sys
from cli.main import run
from workers.render_keeper import RenderKeeper

spawn, lives = RenderKeeper._spawn, []

async def once(self):
    if lives:
        raise RuntimeError("no second life")
    lives.append(1)
    return await spawn(self)

RenderKeeper._spawn = once
sys.argv = ["greenroom", "worker"]
run()
"""


@pytest.mark.parametrize("work", ["workers.session.Session._beats", "workers.agent_link.AgentLink.run"])
async def test_a_session_ends_with_what_it_lives_by(
    servers: Servers, monkeypatch: pytest.MonkeyPatch, work: str
) -> None:
    """Without heartbeats it would play on unbilled; without reports its agent would wait for ever."""

    async def dies(_: object) -> None:
        await asyncio.sleep(0.5)
        raise RuntimeError("it broke")

    monkeypatch.setattr(work, dies)
    room = f"room-{secrets.token_hex(4)}"
    project = LiveKitProject(servers.livekit_url, servers.livekit_api_key, servers.livekit_api_secret)
    task = Task(
        session_id=session_id(),
        account_id="acct_1",
        url=servers.livekit_url,
        room_name=room,
        worker_identity=AVATAR,
        worker_token=project.token(room, AVATAR),
        audio_source="data_stream",
        subscribe_to_identity=None,
        synthetic_audio_if_no_input=False,
        avatar_id="av_demo",
        quality="mock",
        max_duration_ms=600_000,
        idle_timeout_ms=600_000,
        accepted_ms=now_ms(),
    )
    one, other = socket.socketpair()
    ours: Pipe[FromSession] = await Pipe.over(one, FromSession)
    theirs: Pipe[ToSession] = await Pipe.over(other, ToSession)
    limits = AttemptLimits(30, 40, 1, 10, permitted_networks=f"{urlsplit(servers.livekit_url).hostname}/32")
    running = asyncio.create_task(Session(theirs, Start(task, 1, "wrk_1", boottime(), limits)).run())
    said: list[AttemptEvent] = []
    try:
        async with asyncio.timeout(90):
            while not said or not isinstance(said[-1], SessionFailed):
                message = await ours.receive()
                assert isinstance(message, Said)
                said.append(read(message))
            await running
    finally:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
        ours.close()
        theirs.close()
    assert isinstance(said[-1], SessionFailed)
    assert said[-1].code == "renderer.crashed"
    if work.endswith("_beats"):
        assert any(isinstance(event, SessionFirstFrame) for event in said)


async def test_a_worker_that_cannot_keep_its_renderer_ends(world: World, tmp_path: Path) -> None:
    """It would go on to offer qualities that nobody draws. Who started it starts it again."""
    documented.install(tmp_path)
    known = environment("worker", {**world.env, "GREENROOM_WORKER_RENDERER": "scope"})
    spec = ProcessSpec("worker-without", [sys.executable, "-c", WORKER], {**known, "PYTHONPATH": str(tmp_path)})
    process = Process(spec, world.folder)
    await process.start()
    try:

        async def draws() -> list[psutil.Process]:
            ready = "renderer ready" in process.log_path.read_text()
            return [
                c for c in psutil.Process(process.pid).children() if "workers.render_server" in c.cmdline() and ready
            ]

        (renderer,) = await eventually(draws)
        os.kill(renderer.pid, signal.SIGKILL)
        async with asyncio.timeout(60):
            assert await process.wait() != 0
        assert "no second life" in process.log_path.read_text()
    finally:
        await process.stop()
