"""A worker relies on its render server being kept: when nobody does, it does not go on as if somebody did."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from pathlib import Path

import psutil
import pytest

from cli.processes import environment
from stack.process import Process, ProcessSpec
from tests.workers import documented
from tests.world import World, eventually

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
