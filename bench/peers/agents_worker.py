"""A worker of livekit-agents whose job does what an avatar's does until its first frame: join, publish, push frames.

Run by `bench.first_frame` in an environment of its own; it imports nothing of ours. Its pool of idle processes is on.
Says a JSON object a line: that it is registered, and when each job comes to what.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time

from livekit import rtc
from livekit.agents import AgentServer, AutoSubscribe, JobContext

SIDE, FPS, BITRATE = 256, 25, 400_000
"""Of `mock`, which it stands beside."""
IDLE = 2


def say(**what: object) -> None:
    print(json.dumps({**what, "at": time.time()}), flush=True)


async def job(ctx: JobContext) -> None:
    say(room=ctx.job.room.name, phase="received")
    await ctx.connect(auto_subscribe=AutoSubscribe.SUBSCRIBE_NONE)
    say(room=ctx.room.name, phase="joined")
    video = rtc.VideoSource(SIDE, SIDE)
    await ctx.room.local_participant.publish_track(
        rtc.LocalVideoTrack.create_video_track("avatar_video", video),
        rtc.TrackPublishOptions(
            source=rtc.TrackSource.SOURCE_CAMERA,
            simulcast=False,
            video_codec=rtc.VideoCodec.VP8,
            video_encoding=rtc.VideoEncoding(max_framerate=FPS, max_bitrate=BITRATE),
        ),
    )
    audio = rtc.LocalAudioTrack.create_audio_track("avatar_audio", rtc.AudioSource(48_000, 1))
    await ctx.room.local_participant.publish_track(
        audio, rtc.TrackPublishOptions(source=rtc.TrackSource.SOURCE_MICROPHONE)
    )
    say(room=ctx.room.name, phase="published")
    frame = rtc.VideoFrame(SIDE, SIDE, rtc.VideoBufferType.I420, bytes(SIDE * SIDE * 3 // 2))
    while ctx.room.isconnected():
        video.capture_frame(frame)
        await asyncio.sleep(1 / FPS)


async def main(url: str, key: str, secret: str, name: str) -> None:
    server = AgentServer(
        ws_url=url,
        api_key=key,
        api_secret=secret,
        num_idle_processes=IDLE,
        load_fnc=lambda: 0.0,  # by its own measure a busy machine of two cores is full, and takes no job
        port=0,
    )
    server.rtc_session(job, agent_name=name)
    server.on("worker_registered", lambda *_: say(phase="registered"))
    await server.run(devmode=False)


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:5]))
