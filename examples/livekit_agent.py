"""A voice agent of livekit-agents with a face: `python livekit_agent.py connect --room ROOM`, or `dev`, or `start`.

Nothing in it is Greenroom's. `livekit-plugins-protoface` asks for the avatar, and which platform it asks is
`PROTOFACE_API_URL`. It has no language model and no voice, so that it needs no account: it says one recording again and
again. An agent of yours has its own `AgentSession(stt=…, llm=…, tts=…)`, and the two lines with `avatar`.
"""

import asyncio
import os
import wave

from livekit import rtc
from livekit.agents import Agent, AgentSession, JobContext, WorkerOptions, cli
from livekit.agents.voice.room_io import RoomOptions
from livekit.plugins import protoface

RECORDING = os.environ.get("RECORDING", "cli/assets/speech.wav")
FRAME_S = 0.02


async def frames(path):
    """The recording as a voice would make it: 20 ms at a time."""
    with wave.open(path) as sound:
        rate, channels = sound.getframerate(), sound.getnchannels()
        while pcm := sound.readframes(int(rate * FRAME_S)):
            yield rtc.AudioFrame(pcm, rate, channels, len(pcm) // 2 // channels)


async def entrypoint(ctx: JobContext):
    await ctx.connect()
    session = AgentSession()
    avatar = protoface.AvatarSession(avatar_id=os.environ.get("AVATAR", "av_demo"))
    await avatar.start(session, room=ctx.room)
    ctx.add_shutdown_callback(avatar.aclose)
    await session.start(
        Agent(instructions="Say what you are told."),
        room=ctx.room,
        room_options=RoomOptions(audio_output=False, audio_input=False),  # the face speaks for it
    )
    await avatar.wait_for_join(timeout=60)
    print(f"{avatar.session_id} is in room {ctx.room.name}", flush=True)
    while ctx.room.isconnected():
        handle = session.say("…", audio=frames(RECORDING))
        await handle.wait_for_playout()
        await asyncio.sleep(1)


if __name__ == "__main__":
    cli.run_app(WorkerOptions(entrypoint_fnc=entrypoint))
