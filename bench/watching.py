"""A watcher in a process of its own, who writes down when each picture came.

Who shares an event loop with ten agents sees its own pauses, and would take them for those of a face. Where it may, the
process goes before others: a customer's screen is not a part of the machine that is judged.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import sys
import time
from pathlib import Path

from livekit import rtc

from cli.customer import WATCHER, LiveKitProject
from stack.process import Process, ProcessSpec

_NICENESS = -10
_MARK = "frame "
_JOIN_S = 20.0


class Watching:
    """Somebody in a room, from `join` to `leave`."""

    def __init__(self) -> None:
        self._process: Process | None = None

    async def join(self, project: LiveKitProject, room: str, logs: Path) -> None:
        env = {"WATCHED_URL": project.url, "WATCHED_TOKEN": project.token(room, WATCHER)}
        spec = ProcessSpec(f"watching-{room}", [sys.executable, "-m", "bench.watching"], env)
        self._process = Process(spec, logs)
        await self._process.start()

    @property
    def times(self) -> list[float]:
        """When each picture came, in seconds of the clock that never goes back, which all processes share."""
        if self._process is None:
            return []
        lines = self._process.log_path.read_text().split("\n")[:-1]  # what follows the last line's end is half a line
        return [float(line.removeprefix(_MARK)) for line in lines if line.startswith(_MARK)]

    async def leave(self) -> None:
        if self._process is not None:
            await self._process.stop()


def go_first() -> None:
    """This process goes before others, where it may."""
    with contextlib.suppress(PermissionError):
        os.nice(_NICENESS)


async def watch(url: str, token: str) -> None:
    room, looking = rtc.Room(), set[asyncio.Task[None]]()

    async def look(track: rtc.Track) -> None:
        async for _ in rtc.VideoStream(track):
            print(f"{_MARK}{time.monotonic():.4f}", flush=True)

    def subscribed(track: rtc.Track, *_: object) -> None:
        if track.kind == rtc.TrackKind.KIND_VIDEO:
            looking.add(asyncio.create_task(look(track)))

    room.on("track_subscribed", subscribed)
    async with asyncio.timeout(_JOIN_S):
        await room.connect(url, token)
    await asyncio.Event().wait()  # until its parent ends it


if __name__ == "__main__":
    go_first()
    asyncio.run(watch(os.environ["WATCHED_URL"], os.environ["WATCHED_TOKEN"]))
