"""POST → first decoded frame at a participant that is already in the room, with every phase on the way.

Beside it, in turns and on the same server: a job of a livekit-agents worker, dispatched, which publishes the same; and
a bare publisher, which is only the media path.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import secrets
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import httpx
import orjson
import psutil
from livekit import api, rtc

from bench.common import peers_python, quantile, report, run, world
from cli.customer import LiveKitProject, Watcher
from schemas.events import SessionCreated, SessionFirstFrame
from schemas.times import now_ms
from tests.world import World
from workers.renderers import FORMATS

CALM_PERCENT = 25.0
_AGENT = "bench-agent"
_WITHIN_S = 15.0
_PHASES = ("answered", "received", "joined", "published", "first frame out", "video published", "video subscribed")
SEEN = "first frame seen"
Phases = dict[str, float]
"""Milliseconds since the asking."""


@dataclass
class Viewer(Watcher):
    """Notes when it hears of the video, and has it."""

    noted: dict[str, float] = field(default_factory=dict)

    async def join(self, project: LiveKitProject, room: str, identity: str = "watcher") -> None:
        self.room.on("track_published", lambda publication, _: self._note("video published", publication.kind))
        self.room.on("track_subscribed", lambda track, *_: self._note("video subscribed", track.kind))
        await super().join(project, room, identity)

    def _note(self, what: str, kind: int) -> None:
        if kind == rtc.TrackKind.KIND_VIDEO:
            self.noted.setdefault(what, time.monotonic())

    async def sees(self, asked: float) -> Phases:
        """Of what was asked for at monotonic `asked`."""
        async with asyncio.timeout(_WITHIN_S):
            await self.first_frame.wait()
        noted = {what: (at - asked) * 1000 for what, at in self.noted.items()}
        return {**noted, SEEN: (self.frames[0].at - asked) * 1000}


@asynccontextmanager
async def watched(system: World) -> AsyncIterator[tuple[str, Viewer]]:
    """A room with somebody in it."""
    room, viewer = f"bench-{secrets.token_hex(4)}", Viewer()
    await viewer.join(system.livekit, room)
    try:
        yield room, viewer
    finally:
        await viewer.leave()


async def one(system: World, client: httpx.AsyncClient) -> Phases:
    async with watched(system) as (room, viewer):
        body = system.request(room)
        posted, posted_ms = time.monotonic(), now_ms()
        answer = await client.post("/v1/sessions", json=body)
        answered = time.monotonic()
        assert answer.status_code == 201, answer.text
        sid = answer.json()["id"]
        seen = await viewer.sees(posted)
        await system.until(client, sid, "running")
        first = next(x.data for x, _ in await system.log(sid) if isinstance(x.data, SessionFirstFrame))
        offset = next(x.time_ms for x, _ in await system.log(sid) if isinstance(x.data, SessionCreated)) - posted_ms
        await client.post(f"/v1/sessions/{sid}/end")
        await system.until(client, sid, "ended")
    on_the_way = {
        name.replace("first_frame", "first frame out"): ms + offset for name, ms in first.latencies_ms.items()
    }
    return {"answered": (answered - posted) * 1000, **on_the_way, **seen}


class AgentsWorker:
    """A worker of livekit-agents, registered: bench/peers/agents_worker.py."""

    def __init__(self, system: World, process: asyncio.subprocess.Process) -> None:
        self._system = system
        self._process = process
        self._said: dict[str, dict[str, float]] = {}
        self._registered = asyncio.Event()
        self._listening = asyncio.create_task(self._listen())

    @classmethod
    @asynccontextmanager
    async def started(cls, system: World) -> AsyncIterator[AgentsWorker]:
        project, script = system.livekit, Path(__file__).parent / "peers" / "agents_worker.py"
        python, asked = await asyncio.to_thread(peers_python), (project.url, project.key, project.secret, _AGENT)
        with (system.folder / "agents-worker.log").open("wb") as told:
            process = await asyncio.create_subprocess_exec(
                python, script, *asked, stdout=asyncio.subprocess.PIPE, stderr=told
            )
        made = cls(system, process)
        try:
            async with asyncio.timeout(60):
                await made._registered.wait()
            yield made
        finally:
            with contextlib.suppress(ProcessLookupError):
                process.terminate()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(20):
                    await process.wait()
            if process.returncode is None:
                process.kill()
            made._listening.cancel()

    async def _listen(self) -> None:
        assert self._process.stdout is not None
        while line := await self._process.stdout.readline():
            try:
                said = orjson.loads(line)
            except orjson.JSONDecodeError:
                continue  # its log
            if "phase" not in said:
                continue
            if said["phase"] == "registered":
                self._registered.set()
            else:
                self._said.setdefault(said["room"], {})[said["phase"]] = said["at"]

    async def one(self) -> Phases:
        project = self._system.livekit
        http = project.url.replace("ws", "http", 1)
        async with watched(self._system) as (room, viewer), api.LiveKitAPI(http, project.key, project.secret) as lk:
            asked, asked_at = time.monotonic(), time.time()
            await lk.agent_dispatch.create_dispatch(api.CreateAgentDispatchRequest(agent_name=_AGENT, room=room))
            answered = time.monotonic()
            seen = await viewer.sees(asked)
            await project.delete_room(room)  # the job ends with it
        phases = {phase: (at - asked_at) * 1000 for phase, at in self._said.pop(room, {}).items()}
        return {"answered": (answered - asked) * 1000, **phases, **seen}


async def bare(system: World) -> Phases:
    """A publisher that connects, publishes video and pushes frames until one is decoded. It has no second keyframe."""
    async with watched(system) as (room, viewer):
        publisher, started, mock = rtc.Room(), time.monotonic(), FORMATS["mock"]
        await publisher.connect(
            system.livekit.url, system.livekit.token(room, "avatar"), rtc.RoomOptions(auto_subscribe=False)
        )
        joined = time.monotonic()
        source = rtc.VideoSource(mock.width, mock.height)
        options = rtc.TrackPublishOptions(
            source=rtc.TrackSource.SOURCE_CAMERA,
            simulcast=False,
            video_codec=rtc.VideoCodec.VP8,
            video_encoding=rtc.VideoEncoding(max_framerate=25, max_bitrate=mock.bitrate),
        )
        await publisher.local_participant.publish_track(rtc.LocalVideoTrack.create_video_track("bare", source), options)
        published = time.monotonic()
        frame = rtc.VideoFrame(
            mock.width, mock.height, rtc.VideoBufferType.I420, bytes(mock.width * mock.height * 3 // 2)
        )
        async with asyncio.timeout(_WITHIN_S):
            while not viewer.first_frame.is_set():
                source.capture_frame(frame)
                await asyncio.sleep(0.04)
        seen = await viewer.sees(started)
        await publisher.disconnect()
    return {"joined": (joined - started) * 1000, "published": (published - started) * 1000, **seen}


async def calm(patience_s: float) -> bool:
    """Wait until the session before has been cleaned up: rooms closed, the next warm process spawned.

    Returns False where others keep the machine busy.
    """
    deadline = time.monotonic() + patience_s
    while await asyncio.to_thread(psutil.cpu_percent, 0.25) > CALM_PERCENT:
        if time.monotonic() > deadline:
            return False
    return True


async def main(sessions: int, patience_s: float) -> None:
    async with world() as system:
        await system.start("api", "all")
        await system.start("worker")
        async with system.client() as client, AgentsWorker.started(system) as agents:
            ways: dict[str, Callable[[], Awaitable[Phases]]] = {
                "Greenroom": lambda: one(system, client),
                "livekit-agents": agents.one,
                "bare publisher": lambda: bare(system),
            }
            found, calms = dict[str, list[Phases]](), list[bool]()
            for n in range(-2, sessions):  # the first two warm: rooms and statements of fresh servers
                for way, ask in ways.items():
                    calms.append(await calm(patience_s))
                    took = await ask()
                    if n >= 0:
                        found.setdefault(way, []).append(took)
                if n >= 0:
                    last = ", ".join(f"{way} {each[-1][SEEN]:.0f}" for way, each in found.items())
                    print(f"  session {n + 1} of {sessions}: {last} ms", flush=True)
    rows = []
    for phase in (*_PHASES, SEEN):
        cells = [[took[phase] for took in each if phase in took] for each in found.values()]
        rows.append((phase, *(f"{quantile(c, q):.0f}" if c else "" for c in cells for q in (0.5, 0.95))))
    ours, theirs = ([took[SEEN] for took in found[way]] for way in ("Greenroom", "livekit-agents"))
    p50, p95 = (quantile(ours, q) / quantile(theirs, q) for q in (0.5, 0.95))
    report(
        "first-frame",
        "From the asking to the first frame",
        ("ms since it was asked for", *(f"{way}, {q}" for way in found for q in ("p50", "p95"))),
        rows,
        (
            f"{sessions} of each, in turns; a watcher is in the room. Asked for: by POST, by a dispatch, by the"
            " publisher's own connect.",
            f"The machine was calm before {100 * sum(calms) / len(calms):.0f} % of them; before the others it had other"
            f" work for more than {patience_s:.0f} s.",
            f"Greenroom beside livekit-agents: p50 {p50:.2f} × (aim 0.5), p95 {p95:.2f} × (aim 0.7).",
            f"Slowest: {max(ours):.0f} ms, {max(theirs):.0f} ms.",
            "The worker of livekit-agents has two idle processes, as Greenroom's has, and reports no load: by its own"
            " measure this machine is full most of the time, and it would take no job.",
            "The bare publisher is no floor: it begins with one keyframe alone, and whoever misses that waits.",
            "`received` … `first frame out` are the workers' own times; `video published` and `video subscribed` the"
            " watcher's.",
        ),
    )


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sessions", type=int, default=50)
    parser.add_argument("--patience", type=float, default=30.0, help="Seconds that a calm machine is waited for.")
    asked = parser.parse_args()
    run(main(asked.sessions, asked.patience))
