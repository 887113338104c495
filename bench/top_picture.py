"""Draws `greenroom top`: a real system, sessions of some accounts in real rooms, for some minutes."""

from __future__ import annotations

import argparse
import asyncio
import random
import sys
import time
from pathlib import Path

from bench.common import run, world
from stack.process import Process, ProcessSpec
from tests.world import World

PICTURE = Path(__file__).parent.parent / "docs" / "pictures" / "top.svg"
SLOTS = 8
ACCOUNTS = ("Blue Door Tutors", "Harbour Clinic", "Lantern Museum")


async def customers(system: World, minutes: float) -> None:
    """Sessions of half a minute to a minute, as many at once as there are slots for, more and more of them."""
    pick = random.Random(4)
    keys = [(await system.new_account(name))[1] for name in ACCOUNTS]
    began = time.monotonic()
    while (gone := (time.monotonic() - began) / 60) < minutes:
        async with system.client(pick.choices(keys, (5, 3, 1))[0]) as client:
            seconds = pick.randint(20, 60)
            request = system.request(
                transport={"synthetic_audio_if_no_input": True}, max_duration_seconds=seconds, quality="mock"
            )
            await client.post("/v1/sessions", json=request)
        await asyncio.sleep(pick.uniform(4, 16) * (1.4 - gone / minutes))


async def main(minutes: float) -> None:
    async with world() as system:
        await system.start("api", "all", "deliver", "live")
        await system.start("worker", GREENROOM_WORKER_SLOTS=str(SLOTS))
        await customers(system, minutes)
        command = [sys.executable, "-m", "cli.main", "top", "--svg", str(PICTURE)]
        drawing = Process(ProcessSpec("top", command, env=system.env), system.folder)
        await drawing.start()
        async with asyncio.timeout(60):
            assert await drawing.wait() == 0, drawing.log_tail()
    print(f"{PICTURE.name} is written.")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=4)
    run(main(parser.parse_args().minutes))
