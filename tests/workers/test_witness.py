"""The death of a supervisor is told at once; its leave is not."""

from __future__ import annotations

import asyncio
import os
import signal
import sys

import psutil
import pytest

from events.settings import LogSettings
from events.topics import WORKERS
from stack.process import Process, ProcessSpec
from tests.world import World, eventually
from workers.witness import Witness

pytestmark = pytest.mark.servers

SUPERVISOR = """
import asyncio
from events.settings import LogSettings
from workers.witness import Witness

async def main():
    witness = Witness("wrk_killed", LogSettings())
    keeping = asyncio.create_task(witness.keep())
    while witness.pid is None:
        await asyncio.sleep(0.01)
    print("watched", flush=True)
    await keeping

asyncio.run(main())
"""


def settings(world: World) -> LogSettings:
    return LogSettings(kafka_bootstrap=world.servers.kafka_bootstrap, topic_prefix=world.prefix)


async def buried(world: World) -> set[str]:
    return {record.key.decode() for record in await world.records(WORKERS) if record.value is None}


async def test_a_supervisor_that_is_killed_is_told_of(world: World) -> None:
    spec = ProcessSpec("supervisor", [sys.executable, "-c", SUPERVISOR], {**os.environ, **world.env})
    process = Process(spec, world.folder)
    await process.start()
    try:

        async def watched() -> bool:
            return "watched" in process.log_path.read_text()

        await eventually(watched)
        (witness,) = psutil.Process(process.pid).children()
        witness.send_signal(signal.SIGTERM)  # of who stops all processes, one by one
        assert "wrk_killed" not in await buried(world)
        os.kill(process.pid, signal.SIGKILL)

        async def told() -> bool:
            return "wrk_killed" in await buried(world)

        await eventually(told)
        await eventually(lambda: over(witness))
    finally:
        await process.stop()


async def test_a_witness_that_dies_is_replaced_and_a_dismissed_one_says_nothing(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("workers.witness._AGAIN_S", 0.01)
    witness = Witness("wrk_left", settings(world))
    keeping = asyncio.create_task(witness.keep())
    try:
        first = await eventually(lambda: pid_of(witness))
        assert first is not None
        os.kill(first, signal.SIGKILL)

        async def another() -> int | None:
            return witness.pid if witness.pid != first else None

        second = psutil.Process(await eventually(another))
    finally:
        keeping.cancel()
    await asyncio.gather(keeping, return_exceptions=True)
    await witness.dismiss()
    assert not second.is_running()
    assert "wrk_left" not in await buried(world)


async def pid_of(witness: Witness) -> int | None:
    return witness.pid


async def over(process: psutil.Process) -> bool:
    return not process.is_running() or process.status() == psutil.STATUS_ZOMBIE
