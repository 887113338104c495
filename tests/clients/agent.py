"""A voice agent of livekit-agents with Protoface's plugin, in a room of its own (see drive.py). Runs in the clients'
environment and knows nothing of ours. It has no language model and no voice: what it says is handed to it as sound."""

import asyncio
import json
import runpy
import sys
import wave
from collections.abc import AsyncIterator
from typing import Any

from livekit import rtc
from livekit.agents import Agent, AgentSession
from livekit.agents.utils import http_context
from livekit.agents.voice.io import PlaybackFinishedEvent
from livekit.agents.voice.room_io import RoomOptions
from livekit.plugins import protoface

_FRAME_S = 0.02


class Customer:
    """An agent in a room, its avatar, and what was reported to it of its speech."""

    def __init__(self, options: dict[str, str]) -> None:
        self._options = options
        self._room = rtc.Room()
        self._agent = AgentSession[None]()
        self._avatar = protoface.AvatarSession(api_url=options["api_url"], api_key=options["api_key"])
        self._finished: asyncio.Queue[PlaybackFinishedEvent] = asyncio.Queue()
        self._states: list[str] = []
        self._session_id: str | None = None

    async def start(self) -> dict[str, Any]:
        """As the plugin's own page says: the avatar first, then the agent. Returns once the avatar is in the room."""
        await self._room.connect(self._options["livekit_url"], self._options["token"])
        await self._avatar.start(
            self._agent,
            self._room,
            livekit_url=self._options["livekit_url"],
            livekit_api_key=self._options["livekit_api_key"],
            livekit_api_secret=self._options["livekit_api_secret"],
        )
        self._agent.on("agent_state_changed", lambda event: self._states.append(event.new_state))
        await self._agent.start(
            Agent(instructions="Say what you are told."),
            room=self._room,
            room_options=RoomOptions(audio_output=False, audio_input=False),
        )
        await self._avatar.wait_for_join(timeout=60)
        self._agent.output.audio.on("playback_finished", self._finished.put_nowait)
        self._session_id = self._avatar.session_id
        return {"session_id": self._session_id, "avatar": self._avatar.avatar_identity}

    async def say(self, path: str, interrupt_after_s: float | None = None) -> dict[str, Any]:
        """Hand the file to the avatar and wait for what it reports."""
        handle = self._agent.say("…", audio=frames(path))
        if interrupt_after_s is not None:
            while "speaking" not in self._states:
                await asyncio.sleep(0.01)
            await asyncio.sleep(interrupt_after_s)  # what is heard of it is the point
            handle.interrupt()
        finished = await self._finished.get()
        await handle.wait_for_playout()
        states, self._states[:] = list(self._states), []
        return {"position_s": finished.playback_position, "interrupted": finished.interrupted, "states": states}

    async def keep_speaking(self, path: str) -> bool:
        """With the program of docs/how-to/fall-back-to-plain-audio.md, which is in this file."""
        runpy.run_path(path)["keep_speaking"](self._agent, self._room, self._avatar.avatar_identity)
        return True

    async def close(self) -> None:
        await self._avatar.aclose()
        await self._agent.aclose()
        await self._room.disconnect()


async def frames(path: str) -> AsyncIterator[rtc.AudioFrame]:
    with wave.open(path) as sound:
        size = int(sound.getframerate() * _FRAME_S)
        while pcm := sound.readframes(size):
            yield rtc.AudioFrame(pcm, sound.getframerate(), sound.getnchannels(), len(pcm) // 2 // sound.getnchannels())


async def main() -> None:
    async with http_context.open():
        customer = Customer(json.loads(sys.argv[1]))
        while line := await asyncio.to_thread(sys.stdin.readline):
            asked = json.loads(line)
            returned = await getattr(customer, asked["call"])(**asked["arguments"])
            print(json.dumps({"returned": returned}), flush=True)


asyncio.run(main())
