"""The customer's side, for the demo, the tests and the benchmarks: tokens, an agent that speaks, a watcher that
records. It uses LiveKit's SDK and HTTP alone, as a customer would."""

from __future__ import annotations

import asyncio
import contextlib
import datetime
import time
import wave
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import orjson
from livekit import api, rtc

from schemas.jsons import JsonObject

SPEECH = Path(__file__).with_name("assets") / "speech.wav"
AGENT, AVATAR, WATCHER = "agent", "avatar", "watcher"
_CHUNK_BYTES = 15_000
_CONNECT_S = 10.0


@dataclass(frozen=True)
class LiveKitProject:
    """A customer's LiveKit: where it is, and the key pair that mints tokens for it."""

    url: str
    key: str
    secret: str

    def token(self, room: str, identity: str, *, behalf: str | None = None, ttl_s: float = 3600, **grants: Any) -> str:
        wanted: JsonObject = {
            "room_join": True,
            "can_publish": True,
            "can_publish_data": True,
            "can_subscribe": True,
            **grants,
        }
        token = (
            api.AccessToken(self.key, self.secret)
            .with_identity(identity)
            .with_ttl(datetime.timedelta(seconds=ttl_s))
            .with_grants(api.VideoGrants(room=room, **wanted))
        )
        if behalf is not None:
            token = token.with_kind("agent").with_attributes({"lk.publish_on_behalf": behalf})
        return str(token.to_jwt())

    async def delete_room(self, room: str) -> None:
        async with self._api() as lk:
            await lk.room.delete_room(api.DeleteRoomRequest(room=room))

    async def remove(self, room: str, identity: str) -> None:
        async with self._api() as lk:
            await lk.room.remove_participant(api.RoomParticipantIdentity(room=room, identity=identity))

    async def present(self, room: str, identity: str) -> bool:
        """Whether somebody of this identity is in the room."""
        async with self._api() as lk:
            found = await lk.room.list_participants(api.ListParticipantsRequest(room=room))
        return any(participant.identity == identity for participant in found.participants)

    def _api(self) -> api.LiveKitAPI:
        return api.LiveKitAPI(self.url.replace("ws", "http", 1), self.key, self.secret)


@dataclass(frozen=True)
class PlaybackReport:
    """What the avatar told the agent."""

    method: str
    position_s: float
    interrupted: bool
    at: float


class Agent:
    """A voice agent: sends speech to its avatar as livekit-agents' data stream output does."""

    def __init__(self, identity: str = AGENT, avatar: str = AVATAR) -> None:
        self.room = rtc.Room()
        self._identity = identity
        self._avatar = avatar
        self.heard: asyncio.Queue[PlaybackReport] = asyncio.Queue()

    async def join(self, project: LiveKitProject, room: str) -> None:
        async with asyncio.timeout(_CONNECT_S):
            token = project.token(room, self._identity)
            await self.room.connect(project.url, token, rtc.RoomOptions(auto_subscribe=False))
        for method in ("lk.playback_started", "lk.playback_finished"):
            self.room.local_participant.register_rpc_method(method, self._on_report)

    async def _on_report(self, call: rtc.RpcInvocationData) -> str:
        content = orjson.loads(call.payload) if call.payload else {}
        position, interrupted = content.get("playback_position", 0.0), content.get("interrupted", False)
        self.heard.put_nowait(PlaybackReport(call.method, position, interrupted, time.monotonic()))
        return "ok"

    async def say(self, pcm: bytes, rate: int, channels: int = 1) -> None:
        """One segment, in bursts far faster than real time."""
        async with asyncio.timeout(_CONNECT_S):
            writer = await self.room.local_participant.stream_bytes(
                name="speech",
                topic="lk.audio_stream",
                attributes={"sample_rate": str(rate), "num_channels": str(channels)},
                destination_identities=[self._avatar],
            )
            for start in range(0, len(pcm), _CHUNK_BYTES):
                await writer.write(pcm[start : start + _CHUNK_BYTES])
            await writer.aclose()

    async def interrupt(self) -> str:
        return await self.room.local_participant.perform_rpc(
            destination_identity=self._avatar, method="lk.clear_buffer", payload="", response_timeout=5
        )

    async def report(self, method: str, timeout_s: float) -> PlaybackReport:
        """The next report of this kind. Raises TimeoutError."""
        async with asyncio.timeout(timeout_s):
            while (playback := await self.heard.get()).method != method:
                pass
        return playback

    async def leave(self) -> None:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(3):
                await self.room.disconnect()


@dataclass
class SeenFrame:
    at: float
    image: Any
    """An RGB array, or None when only times are kept."""


@dataclass
class Watcher:
    """A second participant that sees and hears the avatar. Times are monotonic seconds of arrival."""

    keep: bool = False
    room: rtc.Room = field(default_factory=rtc.Room)
    frames: list[SeenFrame] = field(default_factory=list)
    sound: list[tuple[float, Any]] = field(default_factory=list)
    first_frame: asyncio.Event = field(default_factory=asyncio.Event)
    _tasks: list[asyncio.Task[None]] = field(default_factory=list)

    async def join(self, project: LiveKitProject, room: str, identity: str = WATCHER) -> None:
        await self.enter(project.url, project.token(room, identity))

    async def enter(self, url: str, token: str) -> None:
        """Into the token's room."""
        self.room.on("track_subscribed", self._on_track)
        async with asyncio.timeout(_CONNECT_S):
            await self.room.connect(url, token)

    def _on_track(self, track: rtc.Track, _: Any, __: Any) -> None:
        if track.kind == rtc.TrackKind.KIND_VIDEO:
            self._tasks.append(asyncio.create_task(self._watch(track)))
        else:
            self._tasks.append(asyncio.create_task(self._listen(track)))

    async def _watch(self, track: rtc.Track) -> None:
        stream = rtc.VideoStream(track, format=rtc.VideoBufferType.RGB24 if self.keep else None)
        async for event in stream:
            frame = event.frame
            image = None
            if self.keep:
                image = np.frombuffer(frame.data, np.uint8).reshape(frame.height, frame.width, 3).copy()
            self.frames.append(SeenFrame(time.monotonic(), image))
            self.first_frame.set()

    async def _listen(self, track: rtc.Track) -> None:
        async for event in rtc.AudioStream.from_track(track=track, sample_rate=48_000, num_channels=1):
            self.sound.append((time.monotonic(), np.frombuffer(event.frame.data, np.int16).copy()))

    async def leave(self) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(3):
                await self.room.disconnect()

    def save_clip(self, path: Path, start: float, seconds: float) -> tuple[int, float]:
        """What was seen and heard from monotonic `start` on, as MP4; returns (frames, loudest sample 0–1)."""
        frames = [f for f in self.frames if start <= f.at < start + seconds]
        sound = [s for s in self.sound if start <= s[0] < start + seconds]
        pcm = np.concatenate([s[1] for s in sound]) if sound else np.zeros(0, np.int16)
        height, width = frames[0].image.shape[:2]
        with av.open(str(path), "w") as container:
            video = container.add_stream("libx264", rate=25)
            video.width, video.height, video.pix_fmt = width, height, "yuv420p"
            video.time_base = video.codec_context.time_base = Fraction(1, 1000)
            audio = container.add_stream("aac", rate=48_000, layout="mono")
            last = -1
            for seen in frames:
                frame = av.VideoFrame.from_ndarray(seen.image, format="rgb24")
                last = frame.pts = max(last + 1, round((seen.at - start) * 1000))
                frame.time_base = Fraction(1, 1000)
                container.mux(video.encode(frame))
            heard = av.AudioFrame.from_ndarray(pcm[None, :], format="s16", layout="mono")
            heard.sample_rate = 48_000
            heard.pts = round((sound[0][0] - start) * 48_000) if sound else 0
            heard.time_base = Fraction(1, 48_000)
            container.mux(audio.encode(heard))
            container.mux(video.encode(None))
            container.mux(audio.encode(None))
        return len(frames), float(np.abs(pcm.astype(np.int32)).max() / 32768) if len(pcm) else 0.0


def speech() -> tuple[bytes, int, float]:
    """The committed sentence: (PCM16 mono, rate, seconds)."""
    with wave.open(str(SPEECH)) as sound:
        pcm = sound.readframes(sound.getnframes())
        return pcm, sound.getframerate(), sound.getnframes() / sound.getframerate()


def reference_request(url: str, room: str, token: str, quality: str | None) -> JsonObject:
    """The request of the public API page; only url, room and token are ours, and quality where one is given."""
    return {
        "avatar_id": "av_demo",
        "idle_timeout_seconds": 30,
        "max_duration_seconds": 600,
        "metadata": {"customer_session_id": "abc123"},
        "quality": quality or "standard",
        "transport": {"room_name": room, "type": "livekit", "url": url, "worker_token": token},
    }
