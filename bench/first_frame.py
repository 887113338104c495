"""POST → first decoded frame at a participant that is already in the room, with every phase on the way."""

from __future__ import annotations

import argparse
import asyncio
import secrets
import time

import httpx
import psutil
from livekit import rtc

from bench.common import quantile, report, run, world
from cli.customer import Watcher
from schemas.events import SessionCreated, SessionFirstFrame
from schemas.times import now_ms
from tests.world import World

CALM_PERCENT = 25.0
_PHASES = ("answered", "received", "joined", "published", "first frame out", "first frame seen")


async def one(system: World, client: httpx.AsyncClient) -> dict[str, float]:
    room, watcher = f"bench-{secrets.token_hex(4)}", Watcher()
    await watcher.join(system.livekit, room)
    body = system.request(room)
    posted, posted_ms = time.monotonic(), now_ms()
    answer = await client.post("/v1/sessions", json=body)
    answered = time.monotonic()
    assert answer.status_code == 201, answer.text
    sid = answer.json()["id"]
    async with asyncio.timeout(15):
        await watcher.first_frame.wait()
    seen = watcher.frames[0].at
    await system.until(client, sid, "running")
    first = next(x.data for x, _ in await system.log(sid) if isinstance(x.data, SessionFirstFrame))
    offset = next(x.time_ms for x, _ in await system.log(sid) if isinstance(x.data, SessionCreated)) - posted_ms
    await client.post(f"/v1/sessions/{sid}/end")
    await system.until(client, sid, "ended")
    await watcher.leave()
    on_the_way = {name: ms + offset for name, ms in first.latencies_ms.items()}
    return {
        "answered": (answered - posted) * 1000,
        "received": on_the_way["received"],
        "joined": on_the_way["joined"],
        "published": on_the_way["published"],
        "first frame out": on_the_way["first_frame"],
        "first frame seen": (seen - posted) * 1000,
    }


async def bare(system: World) -> float:
    """A peer, no floor: a bare publisher that connects, publishes video and pushes frames until one is decoded."""
    room, watcher, publisher = f"bench-{secrets.token_hex(4)}", Watcher(), rtc.Room()
    await watcher.join(system.livekit, room)
    started = time.monotonic()
    await publisher.connect(
        system.livekit.url, system.livekit.token(room, "avatar"), rtc.RoomOptions(auto_subscribe=False)
    )
    source = rtc.VideoSource(512, 512)
    options = rtc.TrackPublishOptions(
        source=rtc.TrackSource.SOURCE_CAMERA,
        simulcast=False,
        video_codec=rtc.VideoCodec.VP8,
        video_encoding=rtc.VideoEncoding(max_framerate=25, max_bitrate=1_200_000),
    )
    await publisher.local_participant.publish_track(rtc.LocalVideoTrack.create_video_track("bare", source), options)
    frame = rtc.VideoFrame(512, 512, rtc.VideoBufferType.I420, bytes(512 * 512 * 3 // 2))
    while not watcher.first_frame.is_set():
        source.capture_frame(frame)
        await asyncio.sleep(0.04)
    took = watcher.frames[0].at - started
    await publisher.disconnect()
    await watcher.leave()
    return took * 1000


async def calm() -> None:
    """Wait until the session before has been cleaned up: rooms closed, the next warm process spawned."""
    while await asyncio.to_thread(psutil.cpu_percent, 0.25) > CALM_PERCENT:
        pass


async def main(sessions: int) -> None:
    async with world() as system:
        await system.start("api", "all")
        await system.start("worker")
        async with system.client() as client:
            for _ in range(2):  # warm: the first rooms and statements of fresh servers
                await one(system, client)
            found, bares = [], []
            for n in range(sessions):
                await calm()
                found.append(await one(system, client))
                await calm()
                bares.append(await bare(system))
                print(f"  session {n + 1} of {sessions}: {found[-1]['first frame seen']:.0f} ms", flush=True)
    rows = [(phase, *(f"{quantile([f[phase] for f in found], q):.0f}" for q in (0.5, 0.95))) for phase in _PHASES]
    rows.append(("a bare publisher, from its connect", *(f"{quantile(bares, q):.0f}" for q in (0.5, 0.95))))
    p50 = quantile([f["first frame seen"] for f in found], 0.5)
    report(
        "first-frame",
        "POST to first frame",
        ("since POST, ms", "p50", "p95"),
        rows,
        (
            f"{sessions} sessions, each on a calm machine, a watcher in the room; p50 is {p50:.0f} ms, aim 300 ms.",
            f"{p50 / quantile(bares, 0.5):.2f} × a bare publisher of the same run, from connect to a decoded frame.",
            "`received` … `first frame out` are the worker's own times, from `session.first_frame` in the log.",
        ),
    )


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sessions", type=int, default=20)
    run(main(parser.parse_args().sessions))
